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

/**
 * ECMA-48, 5.4: parameter and intermediate bytes, then one final byte. xterm's mouse report of X10 has three more
 * characters, which may be letters.
 */
const complete = /^(?:\[M[^]{3}|\[(?!M)[0-?]*[ -/]*[@-~]|O[ -~])/u;
const incomplete = /^(?:\[M[^]{0,2}|\[[0-?]*[ -/]*|O)?$/u;
/** What is held of an incomplete sequence. Of a longer one the rest is skipped. */
const mostHeld = 256;
/** A CSI sequence that is malformed or too long, and its end: the final byte, or what cannot be in one. */
const overlong = /^\[[ -?]/;
const sequenceEnd = /[@-~]|(?=[^ -?])/;

/** ECMA-48, 5.6: the control strings DCS, SOS, OSC, PM and APC. Terminals answer requests with them. */
const controlString = /^[PX\]^_]/;
/** The end of a control string: BEL as in xterm, or ST. */
const stringEnd = /\u0007|\u001b\\|\u009c/;

/**
 * Turns the bytes of a terminal into keys. A sequence or a character may come in several chunks: the part is
 * held until the next chunk, or until `flush()`. What is not a key, such as a reply of the terminal or a report of
 * the mouse, is dropped as a whole, of any length: its letters are not keys.
 */
export class KeyParser {
  readonly #decoder = new TextDecoder();
  #held = "";
  /** The end of the sequence or string that is being skipped. */
  #skipTo: RegExp | undefined;

  /** Whether a part of a sequence is held, which may also be the Escape key. */
  get pending(): boolean {
    return this.#held !== "" || this.#skipTo !== undefined;
  }

  /** Whether it is a part that no key begins with, so that more is to come, however slow the line is. */
  get isInSequence(): boolean {
    return this.#skipTo !== undefined || this.#held.length > 2;
  }

  /** The keys that these bytes complete. Unknown sequences are dropped. */
  take(bytes: Uint8Array): readonly Key[] {
    let text = this.#held + this.#decoder.decode(bytes, { stream: true });
    this.#held = "";
    const keys: Key[] = [];
    while (text !== "") {
      if (this.#skipTo !== undefined) {
        text = this.#skip(text, this.#skipTo);
        continue;
      }
      if (text.startsWith(escape)) {
        const rest = text.slice(1);
        if (incomplete.test(rest) && rest.length <= mostHeld) {
          this.#held = text;
          break;
        }
        const [match] = complete.exec(rest) ?? [];
        if (match === undefined) {
          this.#skipTo = skippedTo(rest);
          if (this.#skipTo !== undefined) {
            text = rest.slice(1);
            continue;
          }
        }
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

  /** The text after what is skipped; "" if the end is still to come. */
  #skip(text: string, to: RegExp): string {
    const end = to.exec(text);
    if (end === null) {
      // ST may come in two parts.
      if (text.endsWith(escape)) this.#held = escape;
      return "";
    }
    this.#skipTo = undefined;
    return text.slice(end.index + end[0].length);
  }

  /** The keys of a held part that was not continued in time: a single ESC is the Escape key. */
  flush(): readonly Key[] {
    const [held, isDropped] = [this.#held, this.isInSequence];
    this.#held = "";
    this.#skipTo = undefined;
    if (held === "" || isDropped) return [];
    return [{ name: "escape" }, ...Array.from(held.slice(1)).flatMap(keyOf)];
  }
}

/** Up to where the text after an ESC that begins no sequence is skipped; undefined if it is not. */
function skippedTo(rest: string): RegExp | undefined {
  if (controlString.test(rest)) return stringEnd;
  return overlong.test(rest) ? sequenceEnd : undefined;
}

function keyOf(character: string): readonly Key[] {
  const name = controls[character];
  if (name !== undefined) return [{ name }];
  // C0 and C1 controls are not keys that anything here is bound to.
  return /[\u0000-\u001f\u007f-\u009f]/.test(character) ? [] : [{ name: "text", text: character }];
}
