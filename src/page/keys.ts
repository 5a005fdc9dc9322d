/** What keys do besides moving the focus. */
interface KeyActions {
  /** Closes what is selected. */
  readonly close: () => void;
  /** Clears the filter. */
  readonly clear: () => void;
}

/**
 * The keys of the page: / types into the filter, arrows move through the rows of a list, Enter selects (the rows are
 * buttons), Escape closes. Returns a function that ends that.
 */
export function onKey({ close, clear }: KeyActions): () => void {
  const listener = (event: KeyboardEvent): void => {
    const { target, key } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || !(target instanceof HTMLElement)) return;
    // The keys of a shell and a dialog are their own.
    if (target.closest(".terminal, dialog") !== null) return;
    if (act(key, target, { close, clear })) event.preventDefault();
  };
  document.addEventListener("keydown", listener);
  return () => document.removeEventListener("keydown", listener);
}

/** Does what a key means. False if it means nothing here. */
function act(key: string, target: HTMLElement, { close, clear }: KeyActions): boolean {
  const search = document.querySelector<HTMLInputElement>("#search");
  const isTyping = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
  switch (key) {
    case "/":
      if (!isTyping) search?.focus();
      return !isTyping;
    case "Escape":
      if (target === search) leave(search, clear);
      else close();
      return true;
    case "ArrowDown":
    case "ArrowUp":
      return moveFocus(target, key === "ArrowDown" ? 1 : -1);
    default:
      return false;
  }
}

function leave(search: HTMLInputElement, clear: () => void): void {
  if (search.value === "") search.blur();
  clear();
}

/** Focuses the next or previous row. Without a focused row it is the first one. */
function moveFocus(from: HTMLElement, step: 1 | -1): boolean {
  if (from instanceof HTMLSelectElement || from.closest("aside") !== null) return false;
  const rows = [...document.querySelectorAll<HTMLElement>("main [data-row]")];
  const at = rows.findIndex((row) => row === from);
  const next = rows[at < 0 ? 0 : at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return next !== undefined;
}
