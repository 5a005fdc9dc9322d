/**
 * Pods that are created and removed while calls are cancelled, repeated and cut short. Each pod is handled as a
 * kubelet does it: list what exists, then do the next step, even if the last one failed. A seed decides the
 * order of events, as far as the timing of the machine allows.
 */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { clone } from "@bufbuild/protobuf";
import type { CriClient } from "../../src/client/cri-client.ts";
import {
  ContainerState,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  PodSandboxState,
} from "../../src/gen/runtime/v1/api_pb.ts";
import { Caller, chooseTrouble, Ledger, type Method, type Trouble } from "./churn-call.ts";
import type { Random } from "./random.ts";

/** The server, the image and the pods of a churn. */
interface ChurnOptions {
  readonly client: CriClient;
  readonly random: Random;
  /** An image with busybox in it, which the node has. */
  readonly image: string;
  /** The pod of this number: a name, a uid and a log directory of its own. */
  readonly podConfig: (random: Random, at: number) => PodSandboxConfig;
}

// A kubelet would try forever. Here every pod must reach its goal within so many attempts.
const maxSyncs = 200;
const observeEveryMs = 40;

/** The churn of one server. */
export class Churn {
  readonly ledger = new Ledger();
  readonly #options: ChurnOptions;
  #begun = 0;

  constructor(options: ChurnOptions) {
    this.#options = options;
  }

  /** Runs and removes so many pods, some at the same time, and lists and reads everything meanwhile. */
  async lives(count: number, parallel: number): Promise<void> {
    const end = this.#begun + count;
    const over = new AbortController();
    const observer = this.#observe(over.signal);
    const worker = async (): Promise<void> => {
      while (this.#begun < end) {
        const at = this.#begun++;
        try {
          await new Life(this.#options, this.ledger, at).live();
        } catch (error) {
          // The failure of one pod must not stop the others.
          this.ledger.violate(`pod ${at}: ${String(error)}`);
        }
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    over.abort();
    await observer;
  }

  /** Asks what a kubelet and its exporters ask all the time. */
  async #observe(signal: AbortSignal): Promise<void> {
    const { runtime } = this.#options.client;
    const random = this.#options.random.fork(-1);
    const caller = new Caller(this.ledger, "observer");
    while (!signal.aborted) {
      const pods = await caller.call("listPodSandbox", (o) => runtime.listPodSandbox({}, o));
      const all = await caller.call("listContainers", (o) => runtime.listContainers({}, o));
      const podSandboxId = pods?.items.at(random.between(0, pods.items.length))?.id;
      const containerId = all?.containers.at(random.between(0, all.containers.length))?.id;
      const verbose = random.chance(0.5);
      if (podSandboxId !== undefined) {
        const request = { podSandboxId, verbose };
        await caller.call("podSandboxStatus", (o) => runtime.podSandboxStatus(request, o));
      }
      if (containerId !== undefined) {
        const request = { containerId, verbose };
        await caller.call("containerStatus", (o) => runtime.containerStatus(request, o));
      }
      if (random.chance(0.2)) {
        await caller.call("listContainerStats", (o) => runtime.listContainerStats({}, o));
        await caller.call("listPodSandboxStats", (o) => runtime.listPodSandboxStats({}, o));
      }
      await caller.call("status", (o) => runtime.status({ verbose }, o));
      await sleep(observeEveryMs);
    }
  }
}

/** What the container of a pod does. */
const programs = {
  sleeps: "exec sleep 100000",
  "ends when told to": 'trap "exit 0" TERM; sleep 100000 & wait',
  "ends by itself": "exit 3",
} as const;

/** One pod, from the moment in which a kubelet hears of it until nothing of it is left. */
class Life {
  readonly #client: CriClient;
  readonly #random: Random;
  readonly #image: string;
  readonly #caller: Caller;
  readonly #config: PodSandboxConfig;
  readonly #program: keyof typeof programs;
  /** Containers that somebody stopped or removed on purpose. */
  readonly #crossed = new Set<string>();

  constructor(options: ChurnOptions, ledger: Ledger, at: number) {
    this.#client = options.client;
    this.#random = options.random.fork(at);
    this.#image = options.image;
    this.#caller = new Caller(ledger, `pod ${at}`);
    this.#config = options.podConfig(this.#random, at);
    const dice = this.#random.next();
    this.#program = dice < 0.5 ? "sleeps" : dice < 0.85 ? "ends when told to" : "ends by itself";
    mkdirSync(path.join(this.#config.logDirectory, "main"), { recursive: true });
  }

  async live(): Promise<void> {
    if (this.#random.chance(0.05)) await this.#giveUp();
    else await this.#reachGoal();
    await this.#end();
  }

  /** The pod is deleted while its sandbox is being made: nobody comes back for that. */
  async #giveUp(): Promise<void> {
    await this.#run(this.#config, { cancelAfterMs: this.#random.spread(1, 60) });
  }

  async #reachGoal(): Promise<void> {
    for (let sync = 0; sync < maxSyncs; sync++) {
      const sandboxId = await this.#sandbox();
      if (sandboxId !== undefined && (await this.#container(sandboxId))) return;
      await this.#pause();
    }
    this.#caller.violate(`its container does not run after ${maxSyncs} tries`);
  }

  async #pause(): Promise<void> {
    await sleep(this.#random.spread(5, 200));
  }

  async #run(config: PodSandboxConfig, trouble: Trouble): Promise<string | undefined> {
    const answer = await this.#caller.call(
      "runPodSandbox",
      (options) => this.#client.runtime.runPodSandbox({ config }, options),
      trouble,
    );
    return answer?.podSandboxId;
  }

  async #sandboxes() {
    const labelSelector = { ...this.#config.labels };
    const answer = await this.#caller.call("listPodSandbox", (options) =>
      this.#client.runtime.listPodSandbox({ filter: { labelSelector } }, options),
    );
    return answer?.items ?? [];
  }

  /** The pod's ready sandbox. If there is none, requests one and returns undefined: the next sync checks again. */
  async #sandbox(): Promise<string | undefined> {
    const items = await this.#sandboxes();
    const [ready, ...more] = items.filter(({ state }) => state === PodSandboxState.SANDBOX_READY);
    if (more.length > 0) this.#caller.violate("it has two ready sandboxes");
    if (ready !== undefined) return ready.id;
    for (const { id } of items) await this.#onSandbox("stopPodSandbox", id);
    const attempts = items.map(({ metadata }) => metadata?.attempt ?? 0);
    const config = clone(PodSandboxConfigSchema, this.#config);
    if (config.metadata !== undefined) config.metadata.attempt = Math.max(-1, ...attempts) + 1;
    return this.#run(config, chooseTrouble(this.#random));
  }

  async #containers(podSandboxId: string) {
    const answer = await this.#caller.call("listContainers", (options) =>
      this.#client.runtime.listContainers({ filter: { podSandboxId } }, options),
    );
    return answer?.containers ?? [];
  }

  /** True when the pod's container is where it should be; else it does the next step. */
  async #container(sandboxId: string): Promise<boolean> {
    const attemptOf = (each: { metadata?: { attempt: number } | undefined }): number =>
      each.metadata?.attempt ?? 0;
    const all = await this.#containers(sandboxId);
    const [latest] = all.toSorted((a, b) => attemptOf(b) - attemptOf(a));
    switch (latest?.state) {
      case ContainerState.CONTAINER_RUNNING:
        if (this.#program === "ends by itself") return false;
        await this.#use(latest.id);
        return true;
      case ContainerState.CONTAINER_EXITED:
        if (await this.#endedAsExpected(latest.id)) return true;
        break;
      case ContainerState.CONTAINER_CREATED:
        if (!this.#random.chance(0.8)) break;
        await this.#start(sandboxId, latest.id);
        return false;
      case ContainerState.CONTAINER_UNKNOWN:
      case undefined:
        break;
    }
    if (latest !== undefined && this.#random.chance(0.5)) {
      this.#crossed.add(latest.id);
      await this.#onContainer("removeContainer", latest.id);
    }
    const attempt = latest === undefined ? 0 : attemptOf(latest) + 1;
    const id = await this.#create(sandboxId, attempt);
    if (id !== undefined) await this.#start(sandboxId, id);
    return false;
  }

  /** Whether a container ended in the way that its program ends. */
  async #endedAsExpected(containerId: string): Promise<boolean> {
    const answer = await this.#caller.call("containerStatus", (options) =>
      this.#client.runtime.containerStatus({ containerId }, options),
    );
    if (answer?.status === undefined) return false;
    const { exitCode, reason, message } = answer.status;
    if (this.#program === "ends by itself" && exitCode === 3 && reason === "Error") return true;
    if (!this.#crossed.has(containerId)) {
      const end = `${exitCode} ${reason} ${message}`;
      this.#caller.violate(`its container ${containerId} (${this.#program}) ended: ${end}`);
    }
    return false;
  }

  async #create(podSandboxId: string, attempt: number): Promise<string | undefined> {
    const namespaceOptions = this.#config.linux?.securityContext?.namespaceOptions;
    const request = {
      podSandboxId,
      config: {
        metadata: { name: "main", attempt },
        image: { image: this.#image, userSpecifiedImage: this.#image },
        command: ["/bin/sh", "-c", programs[this.#program]],
        logPath: `main/${attempt}.log`,
        linux: {
          resources: { cpuShares: 64n, memoryLimitInBytes: 64n << 20n },
          securityContext: namespaceOptions === undefined ? {} : { namespaceOptions },
        },
      },
      sandboxConfig: this.#config,
    };
    const crossing = this.#random.chance(0.08)
      ? this.#cross(podSandboxId, undefined)
      : Promise.resolve();
    const answer = await this.#caller.call(
      "createContainer",
      (options) => this.#client.runtime.createContainer(request, options),
      chooseTrouble(this.#random),
    );
    await crossing;
    return answer?.containerId;
  }

  async #start(podSandboxId: string, containerId: string): Promise<void> {
    const crossing = this.#random.chance(0.12)
      ? this.#cross(podSandboxId, containerId)
      : Promise.resolve();
    await this.#caller.call(
      "startContainer",
      (options) => this.#client.runtime.startContainer({ containerId }, options),
      chooseTrouble(this.#random),
    );
    await crossing;
  }

  /** Stops or removes the pod or the container while other operations on it run. */
  async #cross(podSandboxId: string, containerId: string | undefined): Promise<void> {
    const afterMs = this.#random.between(0, 80);
    const method = this.#random.pick(["stop", "remove"]);
    const what = containerId === undefined ? "pod" : this.#random.pick(["pod", "container"]);
    for (const { id } of await this.#containers(podSandboxId)) this.#crossed.add(id);
    if (containerId !== undefined) this.#crossed.add(containerId);
    await sleep(afterMs);
    if (what === "pod") await this.#onSandbox(`${method}PodSandbox` as const, podSandboxId);
    else if (containerId !== undefined)
      await this.#onContainer(`${method}Container` as const, containerId);
  }

  /** What happens in a running container: probes, and now and then its end in their midst. */
  async #use(containerId: string): Promise<void> {
    while (this.#random.chance(0.4)) {
      const crossing = this.#random.chance(0.1)
        ? sleep(this.#random.between(0, 30)).then(() =>
            this.#onContainer("stopContainer", containerId),
          )
        : undefined;
      const answer = await this.#caller.call(
        "execSync",
        (options) =>
          this.#client.runtime.execSync(
            { containerId, cmd: ["echo", "here"], timeout: 100n },
            options,
          ),
        chooseTrouble(this.#random),
      );
      await crossing;
      if (crossing !== undefined) return;
      const said = answer === undefined ? "here\n" : Buffer.from(answer.stdout).toString();
      if (said !== "here\n" || (answer !== undefined && answer.exitCode !== 0)) {
        this.#caller.violate(`exec said ${JSON.stringify(said)}, ${answer?.exitCode ?? ""}`);
      }
    }
  }

  async #onSandbox(
    method: "stopPodSandbox" | "removePodSandbox",
    podSandboxId: string,
  ): Promise<boolean> {
    return this.#did(method, (options) => this.#client.runtime[method]({ podSandboxId }, options));
  }

  async #onContainer(
    method: "stopContainer" | "removeContainer",
    containerId: string,
  ): Promise<boolean> {
    const timeout = this.#random.chance(0.7) ? 0n : 1n;
    return this.#did(method, (options) =>
      method === "stopContainer"
        ? this.#client.runtime.stopContainer({ containerId, timeout }, options)
        : this.#client.runtime.removeContainer({ containerId }, options),
    );
  }

  async #did(method: Method, send: (options: object) => Promise<unknown>): Promise<boolean> {
    const trouble = chooseTrouble(this.#random);
    return (await this.#caller.call(method, send, trouble)) !== undefined;
  }

  /** Asks again until it has been done. */
  async #insist(step: () => Promise<boolean>, what: string): Promise<void> {
    for (let sync = 0; sync < maxSyncs; sync++) {
      if (await step()) return;
      await this.#pause();
    }
    this.#caller.violate(`${what} is not done after ${maxSyncs} tries`);
  }

  /** Takes everything of the pod down: step by step, or at once. */
  async #end(): Promise<void> {
    const way = this.#random.pick(["step by step", "stop first", "at once"]);
    for (let look = 0; look < maxSyncs; look++) {
      const sandboxes = await this.#sandboxes();
      if (sandboxes.length === 0) return;
      for (const { id } of sandboxes) {
        if (way === "step by step") await this.#endContainers(id);
        const stop = (): Promise<boolean> => this.#onSandbox("stopPodSandbox", id);
        if (way !== "at once") await this.#insist(stop, "StopPodSandbox");
        await this.#insist(() => this.#onSandbox("removePodSandbox", id), "RemovePodSandbox");
      }
    }
    this.#caller.violate("its sandboxes come back again and again");
  }

  async #endContainers(sandboxId: string): Promise<void> {
    for (const { id } of await this.#containers(sandboxId)) {
      await this.#insist(() => this.#onContainer("stopContainer", id), "StopContainer");
      await this.#insist(() => this.#onContainer("removeContainer", id), "RemoveContainer");
    }
  }
}
