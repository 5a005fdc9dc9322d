import { setTimeout as sleep } from "node:timers/promises";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { PodManifest } from "../../manifest/index.ts";
import type { InflightOperation } from "../operations.ts";
import { inflightOf, isInflight } from "./inflight.ts";
import type { PodServer, ProgressReport } from "./context.ts";

// Timeouts for calls that run plugins and programs.
const runMs = 240_000;
const removeMs = 60_000;
// Less than the timeout of the whole rollback, so that the failure is reported.
const joinMs = 100_000;
const pollMs = 500;

/**
 * A RunPodSandbox call and its undo. The client of a call that is canceled or has timed out does not know
 * the state of the pod: davit completes the pod for a retry without listing it, and the CRI has no call to
 * stop that. So undo sends the same request again, which joins the first one and returns the pod's id.
 */
export class SandboxRun {
  readonly #server: PodServer;
  readonly #pod: PodManifest;
  readonly #report: ProgressReport;
  #state: "not sent" | "canceled" | "timed out" | "completed" | "not ours" = "not sent";
  #joinUntilMs: number | undefined;

  constructor(server: PodServer, pod: PodManifest, report: ProgressReport) {
    this.#server = server;
    this.#pod = pod;
    this.#report = report;
  }

  /** Runs the sandbox. Resolves with its id; rejects immediately when the signal is aborted. */
  async run(signal: AbortSignal): Promise<string> {
    const { client, limit, doing } = this.#server;
    signal.throwIfAborted();
    this.#state = "canceled";
    try {
      const call = client.runtime.runPodSandbox(this.#request(), { ...limit(runMs), signal });
      const { podSandboxId } = await doing(`run pod "${this.#name()}"`, call);
      this.#state = "completed";
      return podSandboxId;
    } catch (error) {
      if (signal.aborted) throw error;
      // Another client has created a pod of this name meanwhile.
      if (isKind(error, "already-exists")) this.#state = "not ours";
      else this.#state = isKind(error, "deadline-exceeded") ? "timed out" : "completed";
      throw error;
    }
  }

  /**
   * Removes the pod if it exists. Waits for a server that is still creating it. Rejects when
   * that takes too long or the pod cannot be removed.
   */
  async undo(): Promise<void> {
    if (this.#state === "not sent" || this.#state === "not ours") return;
    // If the timeout was the server's own, there is no request to join.
    const join =
      this.#state === "timed out"
        ? await isInflight(this.#server.client, this.#pod, { timeoutMs: removeMs })
        : this.#state === "canceled";
    if (join) await this.#join();
    this.#report.step("removing the pod");
    const { runtime } = this.#server.client;
    const options = { timeoutMs: removeMs };
    const { items } = await runtime.listPodSandbox({}, options);
    for (const { id, metadata } of items) {
      if (metadata?.uid !== this.#pod.uid) continue;
      await runtime.stopPodSandbox({ podSandboxId: id }, options);
      await runtime.removePodSandbox({ podSandboxId: id }, options);
    }
  }

  /** Waits until the server has completed the request, with a pod or with a failure. */
  async #join(): Promise<void> {
    this.#joinUntilMs ??= performance.now() + joinMs;
    const timeoutMs = Math.max(1, Math.ceil(this.#joinUntilMs - performance.now()));
    const end = new AbortController();
    void this.#reportProgress(end.signal);
    try {
      await this.#server.client.runtime.runPodSandbox(this.#request(), { timeoutMs });
    } catch {
      if (performance.now() >= this.#joinUntilMs) throw await this.#stillRunning();
      // The pod has failed: the server has removed it, or lists what it could not remove.
    } finally {
      end.abort();
    }
    this.#state = "completed";
  }

  /** Reports what the server is doing, repeatedly in a terminal and once in a log. */
  async #reportProgress(signal: AbortSignal): Promise<void> {
    const isOver = (): boolean => signal.aborted;
    for (let polls = 0; !isOver(); polls++) {
      const present = await this.#inflight().catch(() => undefined);
      if (isOver()) return;
      const where = present === undefined ? "" : ` (${describe(present)})`;
      const hint = this.#report.howToLeave === undefined ? "" : `; ${this.#report.howToLeave}`;
      const text = `waiting for the server to create the pod${where}, then removing it${hint}`;
      this.#report.step(text);
      if (polls === 0) this.#report.note?.(`${this.#name()}: ${text}`);
      await sleep(pollMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #stillRunning(): Promise<RuntimeError> {
    const present = await this.#inflight().catch(() => undefined);
    const what =
      present === undefined
        ? `the server has not responded within ${joinMs / 1000} s; see davit pods`
        : `the server is still creating it (${describe(present)}), and removes it if the request is not retried`;
    return new RuntimeError("deadline-exceeded", what);
  }

  async #inflight(): Promise<InflightOperation | undefined> {
    return await inflightOf(this.#server.client, this.#pod, { timeoutMs: removeMs });
  }

  #request() {
    return { config: this.#pod.sandbox, runtimeHandler: this.#pod.runtimeHandler };
  }

  #name(): string {
    return `${this.#pod.namespace}/${this.#pod.name}`;
  }
}

function describe({ stages, detail, tookMs }: InflightOperation): string {
  const stage = stages.at(-1)?.stage.replaceAll("-", " ") ?? "begin";
  const what = detail === undefined ? stage : `network plugin ${detail}`;
  return `${what}, ${(tookMs / 1000).toFixed(1)} s`;
}
