/** Ctrl-P and Ctrl-Q, as in docker. */
const sequence = [0x10, 0x11] as const;

/** Detects the keys that detach from a process. */
export class DetachKeys {
  /** Whether both keys were pressed, one after the other. */
  pressed = false;
  #held = false;

  /**
   * The bytes to pass to the process. The first key is held back until the next byte, and passed on
   * if that is not the second key.
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
