/** Ctrl-P and Ctrl-Q, as docker has them. */
const sequence = [0x10, 0x11] as const;

/** Looks for the keys by which a person leaves a process without ending it. */
export class DetachKeys {
  /** True once they were typed, one right after the other. */
  pressed = false;
  #held = false;

  /**
   * What of the bytes is for the process. A first key waits for what follows: it comes with the next
   * bytes, and is theirs when those are something else.
   */
  take(bytes: Uint8Array): Uint8Array {
    const passed: number[] = [];
    for (const byte of bytes) {
      if (this.pressed) break;
      if (this.#held && byte === sequence[1]) {
        this.pressed = true;
        break;
      }
      if (this.#held) passed.push(sequence[0]);
      this.#held = byte === sequence[0];
      if (!this.#held) passed.push(byte);
    }
    return Uint8Array.from(passed);
  }
}
