import type { ServerResponse } from "node:http";
import type { LiveState } from "../../page/view.ts";

type Section = keyof LiveState;

/** How many pages can be open. */
const maxPages = 16;

/**
 * The live state, sent to all open pages as lines of JSON: each is an object with the sections
 * that have changed. A section is encoded once, when it has changed.
 * A page that reads slowly gets the newest state of each section when it is ready for more, and nothing that
 * is out of date: it costs at most one state.
 */
export class Live {
  readonly #lines = new Map<Section, string>();
  readonly #pages = new Set<Page>();
  readonly #onCount: (pages: number) => void;

  /** `onCount` is told when a page is opened or closed. */
  constructor(onCount: (pages: number) => void) {
    this.#onCount = onCount;
  }

  /** Changes a section. */
  set<S extends Section>(section: S, value: LiveState[S]): void {
    const line = `${JSON.stringify({ [section]: value })}\n`;
    if (this.#lines.get(section) === line) return;
    this.#lines.set(section, line);
    for (const page of this.#pages) page.changed(section);
  }

  /** Sends the state and its changes until the page is closed. False if there are too many pages. */
  open(response: ServerResponse): boolean {
    if (this.#pages.size >= maxPages) return false;
    const page = new Page(response, this.#lines);
    this.#pages.add(page);
    response.on("close", () => {
      this.#pages.delete(page);
      this.#onCount(this.#pages.size);
    });
    for (const section of this.#lines.keys()) page.changed(section);
    this.#onCount(this.#pages.size);
    return true;
  }
}

/** One open page. */
class Page {
  readonly #response: ServerResponse;
  readonly #lines: ReadonlyMap<Section, string>;
  readonly #changed = new Set<Section>();

  constructor(response: ServerResponse, lines: ReadonlyMap<Section, string>) {
    this.#response = response;
    this.#lines = lines;
    response.on("drain", () => this.#send());
    // The page knows by it that it is connected.
    response.write("{}\n");
  }

  changed(section: Section): void {
    this.#changed.add(section);
    this.#send();
  }

  #send(): void {
    for (const section of this.#changed) {
      if (this.#response.writableNeedDrain || this.#response.destroyed) return;
      this.#changed.delete(section);
      this.#response.write(this.#lines.get(section) ?? "");
    }
  }
}
