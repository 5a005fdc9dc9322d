import type { Container, ContainerStatus, PodSandbox } from "../../gen/runtime/v1/api_pb.ts";
import { joinPods, podName } from "../objects/find.ts";
import { member, readInfo } from "../output/cri-message.ts";
import type { Server } from "../server/session.ts";
import { readHistory } from "../../client/operations.ts";
import type { Named } from "./model/activity.ts";
import { type StartHistory, timelineMs } from "./model/history.ts";

/** Calls at the same time: a node has hundreds of objects, and its server also has kubelet to answer. */
const parallel = 8;

/**
 * How often an object is asked for in one state. The second time finds the operation that led to the state,
 * which was not yet part of the history the first time.
 */
const asksPerState = 2;

/** What the lists of the CRI do not have. Asked for once an object's state has changed. */
export class Statuses {
  readonly containers = new Map<string, ContainerStatus>();
  readonly addresses = new Map<string, string>();
  /** The state of each object when it was asked for, and how often. */
  readonly #asked = new Map<string, { readonly state: number; readonly times: number }>();
  readonly #server: Server;
  readonly #history: StartHistory;

  constructor(server: Server, history: StartHistory) {
    this.#server = server;
    this.#history = history;
  }

  /** Asks for what has changed. `hasHistory`: young objects are asked for their history as well. */
  async update(
    {
      pods,
      containers,
    }: { readonly pods: readonly PodSandbox[]; readonly containers: readonly Container[] },
    hasHistory: boolean,
  ): Promise<void> {
    const youngNs = BigInt(Date.now() - timelineMs) * 1_000_000n;
    const isYoung = (createdAt: bigint): boolean => hasHistory && createdAt >= youngNs;
    const work: (() => Promise<void>)[] = [];
    for (const pod of pods) {
      if (this.#hasChanged(pod)) work.push(() => this.#askPod(pod, isYoung(pod.createdAt)));
    }
    for (const { container, pod } of joinPods(containers, pods)) {
      if (!this.#hasChanged(container)) continue;
      work.push(() => this.#askContainer(container, pod, isYoung(container.createdAt)));
    }
    this.#forget(new Set([...pods, ...containers].map(({ id }) => id)));
    const worker = async (): Promise<void> => {
      for (let next = work.shift(); next !== undefined; next = work.shift()) await next();
    };
    await Promise.all(Array.from({ length: parallel }, worker));
  }

  #hasChanged({ id, state }: { readonly id: string; readonly state: number }): boolean {
    const asked = this.#asked.get(id);
    return asked?.state !== state || asked.times < asksPerState;
  }

  #setAsked(id: string, state: number): void {
    const before = this.#asked.get(id);
    const times = before?.state === state ? before.times + 1 : 1;
    this.#asked.set(id, { state, times });
  }

  async #askPod({ id, state, metadata }: PodSandbox, verbose: boolean): Promise<void> {
    const { client, limit } = this.#server;
    const request = { podSandboxId: id, verbose };
    // It may have been removed meanwhile.
    const answer = await client.runtime.podSandboxStatus(request, limit()).catch(() => undefined);
    if (answer === undefined) return;
    this.#setAsked(id, state);
    this.addresses.set(id, answer.status?.network?.ip ?? "");
    const named = { podId: id, namespace: metadata?.namespace ?? "", pod: metadata?.name ?? "" };
    this.#addHistory({ ...named, container: "" }, answer.info);
  }

  async #askContainer(
    { id, state, metadata }: Container,
    pod: PodSandbox | undefined,
    verbose: boolean,
  ): Promise<void> {
    const { client, limit } = this.#server;
    const request = { containerId: id, verbose };
    const answer = await client.runtime.containerStatus(request, limit()).catch(() => undefined);
    if (answer?.status === undefined) return;
    this.#setAsked(id, state);
    this.containers.set(id, answer.status);
    if (pod === undefined) return;
    const named = {
      podId: pod.id,
      namespace: pod.metadata?.namespace ?? "",
      pod: podName(pod),
      container: metadata?.name ?? "",
    };
    this.#addHistory(named, answer.info);
  }

  #addHistory(named: Named, info: Readonly<Record<string, string>>): void {
    const past = readHistory(member(readInfo(info)["info"], "history"));
    if (past !== undefined) this.#history.add(named, past);
  }

  #forget(listed: ReadonlySet<string>): void {
    for (const id of this.#asked.keys()) {
      if (listed.has(id)) continue;
      this.#asked.delete(id);
      this.containers.delete(id);
      this.addresses.delete(id);
    }
  }
}
