/** A terminal with a screen that can be read: a shell in tmux. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { until } from "./pods.ts";

let made = 0;

/** A shell in a terminal of a tmux server of its own. */
export class Screen implements Disposable {
  readonly #socket: string;

  /** Starts the shell; `directory` gets the socket of tmux. */
  constructor(
    directory: string,
    size: { readonly columns: number; readonly rows: number },
    env: Readonly<Record<string, string>>,
  ) {
    made += 1;
    this.#socket = path.join(directory, `tmux-${made}.sock`);
    const variables = { PS1: "shell$ ", LC_ALL: "C.UTF-8", ...env };
    const own = Object.entries(variables).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
    const { columns, rows } = size;
    const geometry = ["-x", String(columns), "-y", String(rows)];
    this.#tmux("-f", "/dev/null", "new-session", "-d", ...geometry, ...own, "sh", "-i");
    // By default tmux forgets the shell, and with it what it printed last.
    this.#tmux("set-option", "-g", "remain-on-exit", "on");
  }

  /** The text on the screen. */
  text(): string {
    return this.#tmux("capture-pane", "-p");
  }

  /** The text on the screen with its colors. */
  coloredText(): string {
    return this.#tmux("capture-pane", "-p", "-e", "-N");
  }

  /** Whether the cursor is visible, and whether the alternate screen is shown. */
  modes(): { readonly cursor: boolean; readonly alternate: boolean } {
    const [cursor, alternate] = this.#tmux(
      "display-message",
      "-p",
      "#{cursor_flag} #{alternate_on}",
    ).split(/\s/);
    return { cursor: cursor === "1", alternate: alternate === "1" };
  }

  /** The process group that has the terminal (proc_pid_stat(5), tpgid): the command that runs, or the shell. */
  foreground(): number {
    const shell = this.#tmux("display-message", "-p", "#{pane_pid}").trim();
    const stat = readFileSync(`/proc/${shell}/stat`, "utf8");
    // After the name of the program, which may have spaces, the state is field 3.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[5]);
  }

  /** Presses keys by their names in tmux: Enter, C-z, Up, or a character. */
  press(...keys: readonly string[]): void {
    this.#tmux("send-keys", ...keys);
  }

  /** Types a line, with Enter at its end. */
  line(text: string): void {
    this.#tmux("send-keys", "-l", text);
    this.press("Enter");
  }

  resize(columns: number, rows: number): void {
    this.#tmux("resize-window", "-x", String(columns), "-y", String(rows));
  }

  /** Waits until the screen has text that matches. The error has the screen. */
  async shows(pattern: RegExp): Promise<string> {
    try {
      return await until(`the screen shows ${String(pattern)}`, () => {
        const text = this.text();
        return pattern.test(text) ? text : undefined;
      });
    } catch (cause) {
      throw new Error(`the screen has no ${String(pattern)}:\n${this.text()}`, { cause });
    }
  }

  /** Ends tmux with all that runs in it. */
  [Symbol.dispose](): void {
    this.#tmux("kill-server");
  }

  #tmux(...args: readonly string[]): string {
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NO_COLOR: undefined };
    // TMUX is set where the tests themselves run in tmux.
    return execFileSync("tmux", ["-u", "-S", this.#socket, ...args], {
      encoding: "utf8",
      env: { ...env, TMUX: undefined },
    });
  }
}
