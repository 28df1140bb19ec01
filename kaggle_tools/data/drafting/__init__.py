"""A competition's file, drafted from what lies in its data folder."""
