import { writeSync } from "node:fs";
import process from "node:process";
import type { Size } from "./cells.ts";
import type { Key } from "./keys.ts";
import { KeyReader } from "./key-reader.ts";

const escape = "\u001b[";
// What a program in a container may have left on, which makes the terminal send more than keys, or other sequences for
// them: application cursor keys (1), mouse reports (9, 1000 to 1003) and their formats (1005, 1006, 1015, 1016), focus
// reports (1004), bracketed paste (2004), and with "ESC >" the application keypad.
const resetInput = `${escape}?1;9;1000;1002;1003;1004;1005;1006;1015;1016;2004l\u001b>`;
// xterm's control sequences: the alternate screen, which keeps the text of the terminal; the cursor; no automatic line
// break, so that a character that is wider than assumed cannot move the rows below.
const enterScreen = `${resetInput}${escape}?1049h${escape}?25l${escape}?7l${escape}2J`;
const leaveScreen = `${resetInput}${escape}0m${escape}?7h${escape}?25h${escape}?1049l`;
// "Synchronized output": a terminal that knows it shows the frame at once. Others ignore it.
const beginFrame = `${escape}?2026h`;
const endFrame = `${escape}?2026l`;

/** What a session reports. */
export interface SessionEvents {
  /** Returns whether the keys that were read together with this one are dropped. */
  readonly onKey: (key: Key) => boolean;
  /** The screen must be drawn again: its size has changed, or it was left meanwhile. */
  readonly onRedraw: () => void;
  /** The terminal is gone. */
  readonly onHangup: () => void;
}

/**
 * The terminal of this process while a program uses its whole screen: raw input, the alternate screen, no cursor. It
 * is restored when the session is disposed, when the process exits for any reason but SIGKILL, and while the process
 * is stopped (Ctrl-Z).
 */
export class TerminalSession implements Disposable {
  readonly #events: SessionEvents;
  readonly #keys: KeyReader;
  #active = false;
  #disposed = false;
  #shown: readonly string[] = [];

  readonly #onData = (chunk: Buffer): void => this.#keys.read(chunk);
  readonly #onEnd = (): void => this.#events.onHangup();
  readonly #onResize = (): void => this.redraw();
  readonly #onExit = (): void => this.leave();
  readonly #onStop = (): void => this.suspend();
  // After SIGSTOP, which cannot be handled, the shell has set the terminal.
  readonly #onContinue = (): void => {
    if (!this.#active) return;
    this.leave();
    this.enter();
  };

  constructor(events: SessionEvents) {
    this.#events = events;
    this.#keys = new KeyReader(events.onKey);
    process.on("exit", this.#onExit).on("SIGTSTP", this.#onStop).on("SIGCONT", this.#onContinue);
    process.stdout.on("resize", this.#onResize);
    process.stdin.on("end", this.#onEnd).on("error", this.#onEnd);
  }

  /** The size of the terminal; 80x24 if it does not report one. */
  get size(): Size {
    return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
  }

  /**
   * Takes the terminal, and asks for a frame. Does nothing once the session is disposed. Input of the first `deafMs`
   * milliseconds is dropped.
   */
  enter(deafMs = 0): void {
    if (this.#active || this.#disposed) return;
    this.#active = true;
    this.#keys.dropFor(deafMs);
    process.stdin.setRawMode(true);
    process.stdin.on("data", this.#onData).resume();
    process.stdout.write(enterScreen);
    this.#shown = [];
    this.#events.onRedraw();
  }

  /** Restores the terminal, also at the exit of the process, when only synchronous writes reach it. */
  leave(): void {
    if (!this.#active) return;
    this.#active = false;
    this.#keys.stop();
    process.stdin.off("data", this.#onData).pause();
    try {
      process.stdin.setRawMode(false);
      writeSync(process.stdout.fd, leaveScreen);
    } catch {
      // The terminal is gone.
    }
  }

  /** Stops the process as Ctrl-Z does, and takes the terminal again when it continues. */
  suspend(): void {
    const wasActive = this.#active;
    this.leave();
    // The default action stops the process before kill() returns. In an orphaned process group, where no shell could
    // continue it, the kernel ignores the signal (signal(7), POSIX 11.1.4), and this function just continues.
    process.off("SIGTSTP", this.#onStop);
    process.kill(process.pid, "SIGTSTP");
    process.on("SIGTSTP", this.#onStop);
    if (wasActive) this.enter();
  }

  /** Draws the whole screen again. */
  redraw(): void {
    if (!this.#active) return;
    this.#shown = [];
    this.#events.onRedraw();
  }

  /** Shows a frame, a line for each row. Writes only the lines that differ from the last frame, at once. */
  draw(lines: readonly string[]): void {
    if (!this.#active) return;
    const text = frameDifference(this.#shown, lines);
    this.#shown = lines;
    if (text !== "") process.stdout.write(`${beginFrame}${text}${endFrame}`);
  }

  [Symbol.dispose](): void {
    this.leave();
    this.#disposed = true;
    process.off("exit", this.#onExit).off("SIGTSTP", this.#onStop).off("SIGCONT", this.#onContinue);
    process.stdout.off("resize", this.#onResize);
    process.stdin.off("end", this.#onEnd).off("error", this.#onEnd);
  }
}

/**
 * The output that turns one frame into another: each changed line with its position, "" if none has changed. An empty
 * frame before means that nothing of the screen is known.
 */
export function frameDifference(before: readonly string[], now: readonly string[]): string {
  const changed = now.flatMap((line, at) =>
    // ECMA-48: CUP moves to a row, and EL erases the rest of the line. EL first, since it also erases the last cell
    // of a line that fills the row.
    before[at] === line ? [] : [`${escape}${at + 1};1H${escape}0m${escape}K${line}`],
  );
  const below = now.length < before.length ? [`${escape}${now.length + 1};1H${escape}J`] : [];
  return [...changed, ...below].join("");
}
