// The larger view: one dialog, into which the picture that was clicked is put. Without a script the small pictures remain.
const view = document.getElementById("view");
if (view) {
  const part = (name) => view.querySelector(`.${name}`);
  let shown = null; // the <template> whose contents are in the dialog
  let first = null; // the one that was opened, and
  let opener = null; // where the focus was then

  const buttonOf = (template) => template.parentElement.querySelector("[data-opens]");
  // Of its gallery, in their order; what cannot be shown has no template.
  const gallery = () => [...(shown.closest("[data-gallery]") ?? shown.parentElement).querySelectorAll("template")];
  const isZoomed = () => part("frame").classList.contains("zoomed");

  const show = (template) => {
    shown = template;
    const pictures = gallery();
    const at = pictures.indexOf(template);
    const [layers, ...about] = template.content.cloneNode(true).children;
    document.getElementById("view-name").textContent = template.dataset.stem;
    part("position").textContent = pictures.length > 1 ? `${at + 1} of ${pictures.length}` : "";
    for (const name of ["previous", "next"]) part(name).hidden = pictures.length < 2;
    // Not disabled, by which they would lose the focus, and the keys with it.
    part("previous").ariaDisabled = String(at === 0);
    part("next").ariaDisabled = String(at === pictures.length - 1);
    part("frame").replaceChildren(layers);
    part("about").replaceChildren(...about);
    setScale();
  };

  const turn = (by) => {
    const next = gallery()[gallery().indexOf(shown) + by];
    if (next) show(next);
  };

  // A pixel of the photo becomes one of the screen, or as many as make it larger than it is as a whole.
  const setScale = () => {
    const frame = part("frame");
    const layers = frame.firstElementChild;
    const [zoomed, left, top] = [isZoomed(), frame.scrollLeft, frame.scrollTop];
    frame.classList.remove("zoomed");
    const whole = layers.getBoundingClientRect().width;
    const own = layers.dataset.width / devicePixelRatio;
    frame.style.setProperty("--zoomed", `${own * Math.max(1, Math.ceil((1.25 * whole) / own))}px`);
    frame.classList.toggle("zoomed", zoomed);
    frame.scrollTo(left, top); // so the same photo with other masks shows the same place
  };

  // What lies at this point of the photo, in shares of its width and height, is brought to the middle, where that can be.
  const zoom = (x = 0.5, y = 0.5) => {
    const frame = part("frame");
    part("zoom").ariaPressed = String(frame.classList.toggle("zoomed"));
    const { width, height } = frame.firstElementChild.getBoundingClientRect();
    frame.scrollTo(x * width - frame.clientWidth / 2, y * height - frame.clientHeight / 2);
    if (isZoomed()) frame.focus(); // whose keys scroll it
  };

  const toggleOutlines = () => {
    const button = part("outlines");
    button.ariaPressed = String(button.ariaPressed !== "true");
    view.classList.toggle("bare", button.ariaPressed !== "true");
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-opens]");
    if (!button) return;
    first = document.getElementById(button.dataset.opens);
    // A row of a table opens a picture by its button, and has the focus itself.
    opener = document.activeElement === document.body ? button : document.activeElement;
    view.showModal();
    show(first);
  });

  const keys = {
    ArrowLeft: () => turn(-1),
    ArrowRight: () => turn(1),
    o: toggleOutlines,
    z: () => zoom(),
  };
  document.addEventListener("keydown", (event) => {
    const scrolls = isZoomed() && document.activeElement === part("frame") && event.key.startsWith("Arrow");
    if (!view.open || scrolls || event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  part("previous").addEventListener("click", () => turn(-1));
  part("next").addEventListener("click", () => turn(1));
  part("outlines").addEventListener("click", toggleOutlines);
  part("zoom").addEventListener("click", () => zoom());
  part("close").addEventListener("click", () => view.close());
  addEventListener("resize", () => view.open && setScale());

  // A click on the photo zooms to where it was; where the mouse is moved meanwhile, it moves the photo.
  let moved = 0;
  part("frame").addEventListener("pointerdown", () => (moved = 0));
  part("frame").addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || event.buttons !== 1) return;
    moved += Math.abs(event.movementX) + Math.abs(event.movementY);
    part("frame").scrollBy(-event.movementX, -event.movementY);
  });
  part("frame").addEventListener("dragstart", (event) => event.preventDefault()); // of an image, to elsewhere
  part("frame").addEventListener("click", (event) => {
    const layers = event.target.closest(".layers");
    if (!layers || moved > 5) return;
    const { left, top, width, height } = layers.getBoundingClientRect();
    zoom((event.clientX - left) / width, (event.clientY - top) / height);
  });

  // Beside the view is the page, by which it is closed.
  view.addEventListener("click", (event) => event.target === view && view.close());
  view.addEventListener("close", () => {
    (shown === first ? opener : buttonOf(shown)).focus();
    part("frame").replaceChildren();
  });
}
