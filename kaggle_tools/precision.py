"""The arithmetic of networks, by the names that Lightning has for it. Knows nothing of torch."""

from typing import Literal

FixedPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""The arithmetic of a network, as Lightning names it; mixed: convolutions and products in 16 bits, the rest in 32."""
Precision = Literal["auto", FixedPrecision]
FP32: FixedPrecision = "32-true"
BF16: FixedPrecision = "bf16-mixed"
FP16: FixedPrecision = "16-mixed"
