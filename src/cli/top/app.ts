import process from "node:process";
import { kindOf, messageOf } from "../../base/errors.ts";
import type { Call } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import type { Server } from "../server/session.ts";
import { cellText } from "./cells.ts";
import type { Drawing } from "./columns.ts";
import { type HeaderFacts, thisMachine } from "./header.ts";
import * as commands from "./commands.ts";
import type { Key } from "./keys.ts";
import type { NodeStatus } from "./node-status.ts";
import { followChanges, SamplePace } from "./pace.ts";
import { appendLines, type Pager } from "./pager.ts";
import { type ContainerRow, type PodRow, podRows, type Row, selectRows } from "./rows.ts";
import { type Sample, Sampler } from "./sample.ts";
import { TerminalSession } from "./session.ts";
import {
  type Action,
  flatten,
  initialState,
  type Message,
  press,
  type RowAction,
  settle,
  type Shown,
  type TopState,
} from "./state.ts";
import { symbolsFor } from "./symbols.ts";
import { activityLines, failureLines, help } from "./texts.ts";
import { UsageHistory } from "./usage.ts";
import { frame, type Scene, tableHeight } from "./view.ts";

/** Options of the screen. */
export interface TopOptions {
  readonly intervalMs: number;
  /** Only these pods, as NAMESPACE/NAME; undefined shows all. */
  readonly pods: ReadonlySet<string> | undefined;
}

/** The shortest time between two frames of a log. */
const frameMs = 50;

/**
 * After a shell, input of this time is dropped: the terminal may still answer what a program in the container has
 * asked, or report the mouse.
 */
const deafMs = 100;

/** How soon the second sample is taken, and how soon a server that does not answer is asked again. */
const soonMs = 1_000;

/** The screen of `davit top`: samples, keys and the terminal. */
export class TopScreen {
  readonly #call: Call;
  readonly #options: TopOptions;
  /** The server, whose calls end when the screen ends. */
  readonly #server: Server;
  readonly #sampler: Sampler;
  readonly #usage = new UsageHistory();
  readonly #symbols = symbolsFor(process.env);
  readonly #end = new AbortController();
  readonly #ended = Promise.withResolvers<number>();
  readonly #machine = thisMachine();
  #name = "";
  #state: TopState = initialState;
  #sample: Sample | undefined;
  #pods: readonly PodRow[] = [];
  #rows: readonly Row[] = [];
  #banner: string | undefined;
  #message: Message | undefined;
  #session: TerminalSession | undefined;
  /** Ends what fills the pager. */
  #page = new AbortController();
  /** The lines of a pager that shows the present state of the server. */
  #live: ((node: NodeStatus) => readonly string[]) | undefined;
  /** The objects that are being stopped. */
  readonly #stopping = new Set<string>();
  #isLeaving = false;
  #drawTimer: NodeJS.Timeout | undefined;
  readonly #pace = new SamplePace();

  constructor(call: Call, server: Server, options: TopOptions) {
    this.#call = call;
    this.#options = options;
    this.#server = withSignal(server, AbortSignal.any([server.signal, this.#end.signal]));
    this.#sampler = new Sampler(this.#server);
    server.signal.addEventListener("abort", () => this.#ended.resolve(exitCode.interrupted), {
      once: true,
    });
  }

  /** Runs until the user quits or the signal of the server is aborted. Fails only if the first sample fails. */
  async run(): Promise<number> {
    await this.#takeSample();
    using session = new TerminalSession({
      onKey: (key) => this.#onKey(key),
      onRedraw: () => this.#update(),
      onHangup: () => this.#ended.resolve(exitCode.interrupted),
    });
    this.#session = session;
    session.enter();
    const polling = this.#poll();
    polling.catch((error: unknown) => this.#ended.reject(error));
    const { client } = this.#server;
    const following = followChanges(client, () => this.#pace.hurry(), this.#end.signal);
    try {
      return await this.#ended.promise;
    } finally {
      clearTimeout(this.#drawTimer);
      this.#end.abort();
      this.#pace.over();
      await polling.catch(() => undefined);
      await following;
    }
  }

  async #poll(): Promise<void> {
    const { signal } = this.#end;
    for (let isFirst = true; ; isFirst = false) {
      // The second sample comes sooner: without it there is no CPU usage.
      const isSoon = isFirst || this.#banner !== undefined;
      const ms = isSoon ? Math.min(soonMs, this.#options.intervalMs) : this.#options.intervalMs;
      await this.#pace.pause(ms);
      if (signal.aborted) return;
      try {
        await this.#takeSample();
        this.#banner = undefined;
      } catch (error) {
        this.#banner = this.#bannerOf(error);
      }
      this.#update();
    }
  }

  async #takeSample(): Promise<void> {
    const sample = await this.#sampler.take({ network: this.#state.traffic });
    // After a failure the server may be another one.
    if (this.#name === "" || this.#banner !== undefined) {
      const { client, limit } = this.#server;
      const { runtimeName, runtimeVersion } = await client.runtime.version({}, limit());
      this.#name = `${runtimeName} ${runtimeVersion}`;
    }
    this.#usage.add(sample.stats, sample.atMs);
    this.#pods = podRows(sample, this.#usage, this.#sample);
    this.#sample = sample;
    const { mode } = this.#state;
    if (this.#live !== undefined && mode.name === "pager") {
      this.#setPager({ ...mode.pager, lines: this.#live(sample.node) });
    }
  }

  #bannerOf(error: unknown): string {
    const { address } = this.#server.endpoint;
    return kindOf(error) === "unavailable"
      ? `server unreachable, retrying: ${address}`
      : `retrying: ${messageOf(error)}`;
  }

  /** Applies the samples and the state to the rows, and draws. */
  #update(): void {
    const { sort, filter, open } = this.#state;
    const before = this.#rows;
    this.#rows = flatten(selectRows(this.#pods, { sort, filter, pods: this.#options.pods }), open);
    this.#state = settle(this.#state, this.#shown(), before);
    this.#draw();
  }

  #draw(): void {
    const scene = this.#scene();
    if (scene === undefined || this.#session === undefined) return;
    this.#session.draw(frame(scene, this.#session.size, this.#drawing()));
  }

  #drawing(): Drawing {
    return {
      style: this.#call.terminal.style,
      symbols: this.#symbols,
      nowMs: Date.now(),
      open: this.#state.open,
    };
  }

  #scene(): Scene | undefined {
    if (this.#sample === undefined) return undefined;
    const facts: HeaderFacts = { server: this.#name, machine: this.#machine, pods: this.#pods };
    const [state, rows] = [this.#state, this.#rows];
    return {
      sample: this.#sample,
      facts,
      rows,
      state,
      banner: this.#banner,
      message: this.#message,
    };
  }

  #shown(): Shown {
    const scene = this.#scene();
    const size = this.#session?.size ?? { columns: 80, rows: 24 };
    const height = scene === undefined ? 1 : tableHeight(scene, size, this.#drawing());
    return { rows: this.#rows, height, screen: size.rows };
  }

  #onKey(key: Key): boolean {
    const before = this.#state.mode;
    const { state, action, message, isUnbound } = press(this.#state, key, this.#shown());
    this.#state = state;
    if (isUnbound === true) return false;
    this.#message = message;
    if (action?.do !== "quit") this.#isLeaving = false;
    if (action !== undefined) this.#act(action);
    this.#update();
    // The keys that came with one that asks a question cannot be its answer: it was not on the screen yet.
    const { mode } = this.#state;
    return mode.name === "confirm" && mode !== before;
  }

  #act(action: Action): void {
    if ("row" in action) {
      this.#actOnRow(action);
      return;
    }
    const { style } = this.#call.terminal;
    switch (action.do) {
      case "quit":
        this.#quit();
        break;
      case "interrupt":
        this.#ended.resolve(exitCode.interrupted);
        break;
      case "suspend":
        this.#session?.suspend();
        break;
      case "redraw":
        this.#session?.redraw();
        break;
      case "close":
        this.#page.abort();
        this.#live = undefined;
        break;
      case "help":
        this.#openPage("Keys", () => help);
        break;
      case "failures":
        this.#openPage("The last failures", (node) => failureLines(node, Date.now(), style));
        break;
      case "activity":
        this.#openPage("In progress", (node) => activityLines(node, style));
        break;
    }
  }

  #actOnRow(action: RowAction): void {
    const title = `${action.do} ${action.row.path}`;
    switch (action.do) {
      case "why":
      case "inspect": {
        const run = action.do === "why" ? commands.why : commands.inspect;
        this.#openOutput(title, 0, (server, onLines) =>
          run(this.#call, server, action.row, onLines),
        );
        break;
      }
      case "logs":
        this.#openOutput(title, undefined, (server, onLines) =>
          commands.followLog(this.#call, server, action.row, onLines),
        );
        break;
      case "shell":
        void this.#shell(action.row);
        break;
      case "ask-stop":
        this.#askStop(action.row);
        break;
      case "stop":
        void this.#stop(action.row);
        break;
    }
  }

  /** Leaving at once would cancel the stop of an object: the first q only reports that. */
  #quit(): void {
    const [object] = this.#stopping;
    if (object === undefined || this.#isLeaving) {
      this.#ended.resolve(exitCode.done);
      return;
    }
    this.#isLeaving = true;
    this.#message = { text: `${object} is still being stopped; q again quits anyway` };
  }

  /** Shows a text that changes with the samples. */
  #openPage(title: string, linesOf: (node: NodeStatus) => readonly string[]): void {
    const { node } = this.#sample ?? {};
    if (node === undefined) return;
    this.#live = linesOf;
    this.#setPager({ title, lines: linesOf(node), top: 0 });
  }

  /** Shows the output of a command while it arrives; `top` is undefined to follow it. */
  #openOutput(title: string, top: 0 | undefined, run: PageCommand): void {
    const page = new AbortController();
    this.#page.abort();
    this.#page = page;
    this.#setPager({ title: cellText(title), lines: [], top });
    const onLines = (lines: readonly string[]): void => {
      const { mode } = this.#state;
      if (page.signal.aborted || mode.name !== "pager") return;
      this.#setPager(appendLines(mode.pager, lines));
      this.#drawSoon();
    };
    const server = withSignal(this.#server, AbortSignal.any([this.#server.signal, page.signal]));
    run(server, onLines).then(
      () => {
        if (top === undefined && !page.signal.aborted)
          this.#say({ text: "the container has ended" });
      },
      (error: unknown) => {
        if (!page.signal.aborted) this.#say({ text: messageOf(error), tone: "red" });
      },
    );
  }

  #setPager(pager: Pager): void {
    this.#state = { ...this.#state, mode: { name: "pager", pager } };
  }

  /** Draws once for all that arrives in this turn of the event loop and the next ones: a log may be fast. */
  #drawSoon(): void {
    this.#drawTimer ??= setTimeout(() => {
      this.#drawTimer = undefined;
      this.#draw();
    }, frameMs);
  }

  #say(message: Message): void {
    this.#message = message;
    this.#draw();
  }

  async #shell(row: ContainerRow): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    session.leave();
    const { terminal } = this.#call;
    terminal.out(`shell in ${cellText(row.path)}: exit or Ctrl-D returns to davit top\n`);
    try {
      const code = await commands.shell(this.#call, this.#server, row);
      this.#message = { text: `the shell in ${row.path} has exited with code ${code}` };
    } catch (error) {
      this.#message = { text: messageOf(error), tone: "red" };
    }
    session.enter(deafMs);
  }

  #askStop(row: Row): void {
    if (row.kind === "container" && !row.running) {
      this.#message = { text: `container ${row.path} does not run`, tone: "red" };
    } else if (this.#stopping.has(row.path)) {
      this.#message = { text: `${row.path} is being stopped already` };
    } else {
      const question = commands.stopQuestion(row);
      this.#state = { ...this.#state, mode: { name: "confirm", question, row } };
    }
  }

  async #stop(row: Row): Promise<void> {
    const { pods, containers } = this.#sample ?? { pods: [], containers: [] };
    this.#stopping.add(row.path);
    this.#message = { text: `stopping ${row.path}` };
    let end: Message = { text: `${row.path} is stopped`, tone: "green" };
    try {
      await commands.stop(this.#call, this.#server, row, { pods, containers });
    } catch (error) {
      end = { text: messageOf(error), tone: "red" };
    }
    this.#stopping.delete(row.path);
    this.#say(end);
    this.#pace.hurry();
  }
}

type PageCommand = (server: Server, onLines: commands.OnLines) => Promise<void>;

/** The server, with calls that also end when this signal is aborted. */
function withSignal(server: Server, signal: AbortSignal): Server {
  return {
    ...server,
    signal,
    limit: (ms) => ({ ...server.limit(ms), signal }),
    unlimited: () => ({ ...server.unlimited(), signal }),
  };
}
