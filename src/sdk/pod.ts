import { isKind } from "../base/errors.ts";
import { stopGrace } from "../client/pods/stop-grace.ts";
import { type Container as CriContainer, ContainerState } from "../gen/runtime/v1/api_pb.ts";
import type { Container, Paused, PauseOptions } from "./api/container.ts";
import type { Forward, History, Pod, RemoveOptions } from "./api/pod.ts";
import type { Snapshot, SnapshotOptions } from "./api/snapshots.ts";
import type { Connection } from "./connection.ts";
import { Calls, type ContainerFacts, RunningContainer } from "./container.ts";
import type { PodDirectories } from "./directories.ts";
import { DavitError } from "./errors.ts";
import { forward } from "./forward.ts";
import { pause, resume } from "./pause.ts";
import { why } from "./why.ts";

/** What is known of a pod. */
export interface PodFacts {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  /** Its containers, where they are known and do not change. */
  readonly containers: readonly ContainerFacts[] | undefined;
}

/** What pods need of their connection. */
export interface PodHost {
  readonly connection: Connection;
  readonly directories: PodDirectories;
  /** Called when a pod was removed. */
  readonly onRemoved: (id: string) => void;
}

/** Time that the server may need in addition to the grace period. */
const answerMs = 60_000;

/** A pod on the server. */
export class RunningPodHandle extends Calls implements Pod {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  readonly #facts: PodFacts;
  readonly #host: PodHost;
  #removal: Promise<void> | undefined;

  constructor(host: PodHost, facts: PodFacts) {
    super(() => this.#onlyContainer());
    this.#host = host;
    this.#facts = facts;
    this.id = facts.id;
    this.name = facts.name;
    this.namespace = facts.namespace;
    this.address = facts.address;
    this.labels = facts.labels;
    this.createdAt = facts.createdAt;
  }

  async containers(): Promise<readonly Container[]> {
    return (await this.#containers()).map((facts) => new RunningContainer(facts));
  }

  async container(name?: string): Promise<Container> {
    if (name === undefined) return new RunningContainer(await this.#onlyContainer());
    const all = await this.#containers();
    const found = all.find((each) => each.name === name);
    if (found !== undefined) return new RunningContainer(found);
    const names = all.map((each) => `"${each.name}"`).join(", ") || "none";
    throw new DavitError(
      "not-found",
      `find container "${name}" of pod "${this.#path}": there is no such container; there are ${names}`,
    );
  }

  async forward(port: number, options: { readonly localPort?: number } = {}): Promise<Forward> {
    const pod = { id: this.id, path: this.#path };
    return await forward(this.#host.connection, pod, port, options.localPort);
  }

  async pause(options?: PauseOptions): Promise<Paused> {
    return await pause(this.#pauseTarget, options);
  }

  async resume(options?: { readonly signal?: AbortSignal }): Promise<void> {
    await resume(this.#pauseTarget, options);
  }

  async snapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
    const { takeSnapshot } = await import("./snapshots.ts");
    return await takeSnapshot(this.#host.connection, { id: this.id, path: this.#path }, options);
  }

  async why(): Promise<History> {
    const containers = await this.#containers();
    return await why(this.#host.connection, { id: this.id, path: this.#path }, containers);
  }

  async remove(options: RemoveOptions = {}): Promise<void> {
    this.#removal ??= this.#remove(options);
    try {
      await this.#removal;
    } catch (error) {
      this.#removal = undefined;
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  get #pauseTarget(): Parameters<typeof pause>[0] {
    return { connection: this.#host.connection, id: this.id, shown: `pod "${this.#path}"` };
  }

  get #path(): string {
    return `${this.namespace}/${this.name}`;
  }

  /** Stops the containers with their grace periods, since StopPodSandbox kills them, and removes the pod. */
  async #remove({ graceSeconds, signal }: RemoveOptions): Promise<void> {
    const { connection, directories, onRemoved } = this.#host;
    const what = `remove pod "${this.#path}"`;
    connection.check(what);
    const { runtime } = connection.client;
    const podSandboxId = this.id;
    try {
      const stops = (await this.#listed(signal))
        .filter(({ state }) => state !== ContainerState.CONTAINER_EXITED)
        .map(async ({ id, annotations }) => {
          const seconds = stopGrace(annotations, graceSeconds);
          const request = { containerId: id, timeout: BigInt(seconds) };
          await runtime.stopContainer(request, connection.quick(signal, seconds * 1000 + answerMs));
        });
      const results = await Promise.allSettled(stops);
      const failed = results.find(
        (each) => each.status === "rejected" && !isKind(each.reason, "not-found"),
      );
      if (failed?.status === "rejected") throw failed.reason;
      await runtime.stopPodSandbox({ podSandboxId }, connection.quick(signal, answerMs));
      await runtime.removePodSandbox({ podSandboxId }, connection.quick(signal, answerMs));
    } catch (error) {
      throw connection.explain(what, error, signal);
    }
    await directories.removeOf(this.#facts);
    onRemoved(this.id);
  }

  async #onlyContainer(): Promise<ContainerFacts> {
    const all = await this.#containers();
    const [only] = all;
    if (only !== undefined && all.length === 1) return only;
    const names = all.map(({ name }) => `"${name}"`).join(", ");
    throw all.length === 0
      ? new DavitError("not-found", `find the container of pod "${this.#path}": it has none`)
      : new DavitError(
          "invalid",
          `find the container of pod "${this.#path}": it has several: ${names}`,
          {
            hint: "choose one with container(NAME)",
          },
        );
  }

  async #containers(): Promise<readonly ContainerFacts[]> {
    if (this.#facts.containers !== undefined) return this.#facts.containers;
    const all = await this.#listed();
    const running = all.filter(({ state }) => state !== ContainerState.CONTAINER_EXITED);
    // Of a pod that has ended, all of them; otherwise without init containers that have exited.
    return (running.length > 0 ? running : all).map((each) => this.#factsOf(each));
  }

  async #listed(signal?: AbortSignal): Promise<readonly CriContainer[]> {
    const { connection } = this.#host;
    const request = { filter: { podSandboxId: this.id } };
    const call = connection.client.runtime.listContainers(request, connection.quick(signal));
    const what = `list the containers of pod "${this.#path}"`;
    return (await connection.doing(what, call, signal)).containers.toReversed();
  }

  #factsOf({ id, metadata, image }: CriContainer): ContainerFacts {
    const name = metadata?.name ?? "";
    const { connection } = this.#host;
    const shown = image?.userSpecifiedImage || image?.image || "";
    return { connection, id, name, path: `${this.#path}/${name}`, image: shown };
  }
}
