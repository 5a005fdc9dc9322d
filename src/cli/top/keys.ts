/** A key: a name such as "up", or the character that it types. */
export type Key = { readonly name: NamedKey } | { readonly name: "text"; readonly text: string };

/** The keys that have a name. */
export type NamedKey =
  | "up"
  | "down"
  | "left"
  | "right"
  | "page-up"
  | "page-down"
  | "home"
  | "end"
  | "enter"
  | "escape"
  | "backspace"
  | "tab"
  | "ctrl-c"
  | "ctrl-l"
  | "ctrl-u"
  | "ctrl-z";

const controls: Readonly<Record<string, NamedKey>> = {
  "\r": "enter",
  "\n": "enter",
  "\t": "tab",
  "\u007f": "backspace",
  "\b": "backspace",
  "\u0003": "ctrl-c",
  "\u000c": "ctrl-l",
  "\u0015": "ctrl-u",
  "\u001a": "ctrl-z",
};

/** The sequences of xterm, of its application mode (SS3), and of the Linux console, after ESC. */
const sequences: Readonly<Record<string, NamedKey>> = {
  "[A": "up",
  "[B": "down",
  "[C": "right",
  "[D": "left",
  "[H": "home",
  "[F": "end",
  OA: "up",
  OB: "down",
  OC: "right",
  OD: "left",
  OH: "home",
  OF: "end",
  "[1~": "home",
  "[7~": "home",
  "[4~": "end",
  "[8~": "end",
  "[5~": "page-up",
  "[6~": "page-down",
};

const escape = "\u001b";

/** ECMA-48, 5.4: parameter and intermediate bytes, then one final byte. Longer ones are not sequences of keys. */
const complete = /^(?:\[[0-?]{0,16}[ -/]{0,4}[@-~]|O[ -~])/;
const incomplete = /^(?:\[[0-?]{0,16}[ -/]{0,4}|O)?$/;

/**
 * Turns the bytes of a terminal into keys. A sequence or a character may come in several chunks: the part is
 * held until the next chunk, or until `flush()`.
 */
export class KeyParser {
  readonly #decoder = new TextDecoder();
  #held = "";

  /** Whether a part of a sequence is held, which may also be the Escape key. */
  get pending(): boolean {
    return this.#held !== "";
  }

  /** The keys that these bytes complete. Unknown sequences are dropped. */
  take(bytes: Uint8Array): readonly Key[] {
    let text = this.#held + this.#decoder.decode(bytes, { stream: true });
    this.#held = "";
    const keys: Key[] = [];
    while (text !== "") {
      if (text.startsWith(escape)) {
        const rest = text.slice(1);
        if (incomplete.test(rest)) {
          this.#held = text;
          break;
        }
        const [match] = complete.exec(rest) ?? [];
        const named = match === undefined ? "escape" : sequences[match];
        if (named !== undefined) keys.push({ name: named });
        text = rest.slice(match?.length ?? 0);
        continue;
      }
      const character = String.fromCodePoint(text.codePointAt(0) ?? 0);
      keys.push(...keyOf(character));
      text = text.slice(character.length);
    }
    return keys;
  }

  /** The keys of a held part that was not continued in time: a single ESC is the Escape key. */
  flush(): readonly Key[] {
    const held = this.#held;
    this.#held = "";
    if (held === "") return [];
    return [{ name: "escape" }, ...Array.from(held.slice(1)).flatMap(keyOf)];
  }
}

function keyOf(character: string): readonly Key[] {
  const name = controls[character];
  if (name !== undefined) return [{ name }];
  // C0 and C1 controls are not keys that anything here is bound to.
  return /[\u0000-\u001f\u007f-\u009f]/.test(character) ? [] : [{ name: "text", text: character }];
}
