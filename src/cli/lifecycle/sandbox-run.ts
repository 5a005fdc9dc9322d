import { setTimeout as sleep } from "node:timers/promises";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { PodManifest } from "../../manifest/pod.ts";
import { readInfo } from "../output/cri-message.ts";
import { formatDuration } from "../output/figures.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { type Present, readInflight } from "../why/past.ts";
import type { RunReport } from "./run-report.ts";

// What a server may take for steps that ask plugins and programs.
const runMs = 240_000;
const removeMs = 60_000;
// Less than the whole undoing may take: it must be said what is not undone.
const joinMs = 100_000;
const pollMs = 500;

/**
 * One RunPodSandbox, and what takes its pod away again. A call that is canceled, or that has timed out,
 * says nothing of its pod: davit finishes it for its caller's retry, unlisted meanwhile, and cannot be told
 * to give up. So the same request is sent again, which joins the first one and gets the pod's id.
 */
export class SandboxRun {
  readonly #server: Server;
  readonly #pod: PodManifest;
  readonly #report: RunReport;
  #state: "not sent" | "canceled" | "timed out" | "answered" | "of somebody else" = "not sent";
  #joinUntilMs: number | undefined;

  constructor(server: Server, pod: PodManifest, report: RunReport) {
    this.#server = server;
    this.#pod = pod;
    this.#report = report;
  }

  /** Runs the sandbox; its id. Rejects at once when the signal is aborted. */
  async run(signal: AbortSignal): Promise<string> {
    const { client, limit } = this.#server;
    signal.throwIfAborted();
    this.#state = "canceled";
    try {
      const call = client.runtime.runPodSandbox(this.#request(), { ...limit(runMs), signal });
      const { podSandboxId } = await doing(`run pod "${this.#name()}"`, call);
      this.#state = "answered";
      return podSandboxId;
    } catch (error) {
      if (signal.aborted) throw error;
      // One that is there already was made by somebody else, while we looked elsewhere.
      if (isKind(error, "already-exists")) this.#state = "of somebody else";
      else this.#state = isKind(error, "deadline-exceeded") ? "timed out" : "answered";
      throw error;
    }
  }

  /**
   * Takes the pod away, whatever of it there is; waits for a server that is still making it. Rejects when
   * that takes too long, or the pod cannot be removed.
   */
  async takeBack(): Promise<void> {
    if (this.#state === "not sent" || this.#state === "of somebody else") return;
    // The time that was over may have been the server's own, and then there is nothing to join.
    const join =
      this.#state === "timed out" ? await this.#isUnderWay() : this.#state === "canceled";
    if (join) await this.#join();
    this.#report.step("remove what was made");
    const { runtime } = this.#server.client;
    const options = { timeoutMs: removeMs };
    const { items } = await runtime.listPodSandbox({}, options);
    for (const { id, metadata } of items) {
      if (metadata?.uid !== this.#pod.uid) continue;
      await runtime.stopPodSandbox({ podSandboxId: id }, options);
      await runtime.removePodSandbox({ podSandboxId: id }, options);
    }
  }

  /** Waits until the server has answered the request, with its pod or with a failure. */
  async #join(): Promise<void> {
    this.#joinUntilMs ??= performance.now() + joinMs;
    const timeoutMs = Math.max(1, Math.ceil(this.#joinUntilMs - performance.now()));
    const end = new AbortController();
    void this.#tell(end.signal);
    try {
      await this.#server.client.runtime.runPodSandbox(this.#request(), { timeoutMs });
    } catch {
      if (performance.now() >= this.#joinUntilMs) throw await this.#stillMaking();
      // The pod has failed: the server has undone it, or lists what it could not undo.
    } finally {
      end.abort();
    }
    this.#state = "answered";
  }

  /** Says what the server does, now and then; for a person who waits, or once for a log. */
  async #tell(signal: AbortSignal): Promise<void> {
    const isOver = (): boolean => signal.aborted;
    for (let looks = 0; !isOver(); looks++) {
      const present = await this.#present().catch(() => undefined);
      if (isOver()) return;
      const where = present === undefined ? "" : ` (${describe(present)})`;
      const text = `the server is still making it${where}: wait, to remove it; Ctrl-C again leaves it`;
      this.#report.step(text);
      if (looks === 0) this.#report.note?.(`${this.#name()}: ${text}`);
      await sleep(pollMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #stillMaking(): Promise<RuntimeError> {
    const present = await this.#present().catch(() => undefined);
    const what =
      present === undefined
        ? `the server has not said within ${joinMs / 1000} s what became of it`
        : `the server is still making it (${describe(present)}), and takes it away when nobody asks for it again`;
    return new RuntimeError("deadline-exceeded", what);
  }

  async #present(): Promise<Present | undefined> {
    const inflight = readInflight((await this.#facts())["inflight"], Date.now());
    return inflight.find(({ subject }) => subject === this.#subject());
  }

  /** Whether davit makes the pod, or has made it and holds it. Other servers do not tell. */
  async #isUnderWay(): Promise<boolean> {
    const { inflight, heldCreates } = await this.#facts();
    const subject = this.#subject();
    return (
      readInflight(inflight, Date.now()).some((each) => each.subject === subject) ||
      (Array.isArray(heldCreates) && heldCreates.includes(subject))
    );
  }

  async #facts(): Promise<ReturnType<typeof readInfo>> {
    const { runtime } = this.#server.client;
    return readInfo((await runtime.status({ verbose: true }, { timeoutMs: removeMs })).info);
  }

  /** The name under which davit makes a sandbox: "_" between the parts, and doubled in them. */
  #subject(): string {
    const { name, namespace, uid } = this.#pod;
    return [name, namespace, uid, "0"].map((part) => part.replaceAll("_", "__")).join("_");
  }

  #request() {
    return { config: this.#pod.sandbox, runtimeHandler: this.#pod.runtimeHandler };
  }

  #name(): string {
    return `${this.#pod.namespace}/${this.#pod.name}`;
  }
}

function describe({ stages, detail, tookMs }: Present): string {
  const stage = stages.at(-1)?.stage.replaceAll("-", " ") ?? "begin";
  const what = detail === undefined ? stage : `network plugin ${detail}`;
  return `${what}, ${formatDuration(tookMs)}`;
}
