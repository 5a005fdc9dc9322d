/** What a node does besides its pods' lives: a container that logs and is asked, rotation of its log, pulls, failing registries. */
import { randomBytes } from "node:crypto";
import { mkdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorKind, kindOf, messageOf } from "../../src/base/errors.ts";
import { busyboxLayer, imageOf, layerOf, type TestImage } from "../support/images.ts";
import type { Ledger } from "../support/churn-call.ts";
import {
  logLines,
  type Node,
  openPod,
  type Pod,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { CONTAINER, pod } from "../support/suites/pods.ts";

/** Counts of what was done. */
export interface Done {
  rotations: number;
  execs: number;
  pulls: number;
  failedPulls: number;
}

const expectedOfPulls: readonly ErrorKind[] = [
  "data-loss",
  "unavailable",
  "canceled",
  "failed-precondition",
];
const images = 12;
const repository = "soak/app";

/** The load of one node, without the lives of pods. */
export class SoakLoad {
  readonly done: Done = { rotations: 0, execs: 0, pulls: 0, failedPulls: 0 };
  readonly #node: Node;
  readonly #ledger: Ledger;
  readonly #logs: string;
  readonly #images: TestImage[] = [];
  readonly #pod: Pod;
  readonly #container: string;
  /** The last number that a complete log had. */
  #lastLine = 0;

  private constructor(node: Node, ledger: Ledger, logs: string, at: Pod, container: string) {
    this.#node = node;
    this.#ledger = ledger;
    this.#logs = logs;
    this.#pod = at;
    this.#container = container;
  }

  static async open(node: Node, ledger: Ledger): Promise<SoakLoad> {
    const logs = path.join(node.daemon.paths.directory, "soak-logs");
    mkdirSync(logs, { recursive: true });
    const at = await openPod(node.daemon, pod({ pid: CONTAINER }, { logDirectory: logs }));
    const text = "n=0; while :; do n=$((n+1)); echo $n; usleep 20000; done";
    const id = await runIn(at, script(text, { logPath: "main.log" }));
    const load = new SoakLoad(node, ledger, logs, at, id);
    for (let n = 0; n < images; n++) {
      const layer = layerOf([{ path: `file-${n}`, body: randomBytes(200_000) }]);
      const image = imageOf([busyboxLayer(), layer], { Env: ["PATH=/bin"] });
      load.#images.push(image);
      await node.registry.push(repository, image, [String(n)]);
    }
    return load;
  }

  /** The sandbox that stays until the end. */
  get sandboxId(): string {
    return this.#pod.id;
  }

  /** Runs everything side by side until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const loop = async (step: () => Promise<void>, pauseMs: number): Promise<void> => {
      while (!signal.aborted) {
        await step();
        await sleep(pauseMs);
      }
    };
    await Promise.all([
      loop(() => this.#rotate(), 500),
      loop(() => this.#exec(), 50),
      loop(() => this.#pull(), 200),
    ]);
  }

  /** Removes the images; their layers go when nobody uses them. */
  async removeImages(): Promise<void> {
    for (let n = 0; n < images; n++) await this.#removeImage(n);
  }

  /** Ends the container, and checks that no line of its log is missing. */
  async close(): Promise<void> {
    const { runtime } = this.#node.daemon.client;
    await runtime.stopContainer({ containerId: this.#container, timeout: 0n });
    this.#read(path.join(this.#logs, "main.log"));
    await runtime.removePodSandbox({ podSandboxId: this.#pod.id });
    rmSync(this.#logs, { recursive: true });
  }

  /** Moves the log away and has it reopened, as kubelet does, and reads what was moved. */
  async #rotate(): Promise<void> {
    const moved = path.join(this.#logs, "main.log.1");
    renameSync(path.join(this.#logs, "main.log"), moved);
    const { runtime } = this.#node.daemon.client;
    // Like kubelet: again until it succeeds, since the container writes to the moved file until then.
    while (
      !(await this.#try("rotate", () =>
        runtime.reopenContainerLog({ containerId: this.#container }),
      ))
    ) {
      await sleep(100);
    }
    this.#read(moved);
    rmSync(moved);
    this.done.rotations += 1;
  }

  #read(file: string): void {
    for (const { text } of logLines(file)) {
      if (Number(text) !== this.#lastLine + 1) {
        this.#ledger.violate(`the log has line ${text} after ${this.#lastLine}`);
      }
      this.#lastLine = Number(text);
    }
  }

  async #exec(): Promise<void> {
    const { runtime } = this.#node.daemon.client;
    const request = { containerId: this.#container, cmd: ["echo", "here"], timeout: 60n };
    const isDone = await this.#try("exec", async () => {
      const { stdout, exitCode } = await runtime.execSync(request);
      const said = Buffer.from(stdout).toString();
      if (said !== "here\n" || exitCode !== 0)
        this.#ledger.violate(`exec said "${said}", ${exitCode}`);
    });
    if (isDone) this.done.execs += 1;
  }

  /** Pulls an image, one time in four from a registry that fails, and removes it again. */
  async #pull(): Promise<void> {
    const { registry } = this.#node;
    const n = (this.done.pulls + this.done.failedPulls) % images;
    const trouble = this.done.pulls % 4;
    if (trouble === 1) registry.corrupt(/\/soak\/app\/blobs\//);
    if (trouble === 2) registry.mirror("registry.k8s.io", "http://127.0.0.1:1");
    const image = { image: `registry.k8s.io/${repository}:${n}` };
    try {
      await this.#node.daemon.client.image.pullImage({ image });
      this.done.pulls += 1;
    } catch (error) {
      this.done.failedPulls += 1;
      // A corrupt blob, no registry, or no daemon. kubelet repeats each pull; a defect of davit would be "internal".
      // The marker of cri-api for a registry that does not answer has the code "unknown".
      const kind = kindOf(error);
      const isKnown =
        expectedOfPulls.includes(kind) || /RegistryUnavailable/.test(messageOf(error));
      if (!isKnown) this.#ledger.violate(`pull failed: ${kind}: ${messageOf(error)}`);
      if (trouble !== 1 && trouble !== 2 && !this.#ledger.isOutage()) {
        this.#ledger.violate(`pull failed without a reason: ${kind}: ${messageOf(error)}`);
      }
      // The same trouble would never end.
      if (trouble !== 0) this.done.pulls += 1;
    } finally {
      registry.corrupt(undefined);
      registry.mirror("registry.k8s.io");
    }
    await this.#removeImage(n);
  }

  async #removeImage(n: number): Promise<void> {
    const image = { image: `registry.k8s.io/${repository}:${n}` };
    await this.#try("remove image", () => this.#node.daemon.client.image.removeImage({ image }));
  }

  /** Whether a call succeeded. It may fail only because the daemon is away. */
  async #try(what: string, call: () => Promise<unknown>): Promise<boolean> {
    const epoch = this.#ledger.outages;
    try {
      await call();
      return true;
    } catch (error) {
      const wasAway = this.#ledger.isOutage() || this.#ledger.outages !== epoch;
      if (!wasAway) this.#ledger.violate(`${what} failed: ${kindOf(error)}: ${messageOf(error)}`);
      return false;
    }
  }
}
