import type { Container, ContainerCalls, Paused, PauseOptions } from "./container.ts";
import type { Snapshot, SnapshotOptions } from "./snapshots.ts";

/** A local port that leads to a port of a pod. `await using` closes it with its connections. */
export interface Forward extends AsyncDisposable {
  /** The port on 127.0.0.1. */
  readonly port: number;
  /** http://127.0.0.1:PORT */
  readonly url: string;
}

/** A stage of an operation, in milliseconds from its start. */
export interface Stage {
  readonly name: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** An operation of the server on a pod or one of its containers. */
export interface Operation {
  /** For example "run pod sandbox" or "start container". */
  readonly name: string;
  /** The container's name; undefined for the pod itself. */
  readonly container: string | undefined;
  readonly startedAt: Date;
  readonly tookMs: number;
  readonly stages: readonly Stage[];
  /** Why it failed. */
  readonly error: string | undefined;
}

/** What happened to a pod and its containers, and how long each stage took: `davit why`, as data. */
export interface History {
  /** The oldest first. Empty for a server that does not keep a history. */
  readonly operations: readonly Operation[];
}

/** Options of `remove`. */
export interface RemoveOptions {
  /** How long its containers may take to end after their stop signal, in seconds. 0 kills them; 10 if not given. */
  readonly graceSeconds?: number;
  /** Stops waiting; the server may remove the pod all the same. */
  readonly signal?: AbortSignal;
}

/**
 * A pod: one or more containers that share an address. A pod of one container has the container's calls as well;
 * those of a pod with several reject, and name its containers.
 *
 * `await using` removes a pod, whoever ran it.
 */
export interface Pod extends ContainerCalls, AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  /** The IP address; empty for a pod without a network of its own. */
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
  /** When it was created. */
  readonly createdAt: Date;
  /** A container by its name; the only one if no name is given. */
  container(name?: string): Promise<Container>;
  /** Its containers, without init containers that have ended. */
  containers(): Promise<readonly Container[]>;
  /**
   * Makes a port of the pod available on 127.0.0.1. It needs no port of the host, and works for a pod without a
   * network, too.
   */
  forward(port: number, options?: { readonly localPort?: number }): Promise<Forward>;
  /**
   * Freezes the processes of all its running containers, or of none if one cannot be paused. A container that is started
   * afterwards runs.
   */
  pause(options?: PauseOptions): Promise<Paused>;
  /** Lets all of its containers run on. */
  resume(options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Saves its state on the server: all containers pause together, are captured and run on. */
  snapshot(options?: SnapshotOptions): Promise<Snapshot>;
  /** What happened to it, and how long it took. */
  why(): Promise<History>;
  /** Stops its containers and removes it, with its files. Does nothing for a pod that was removed. */
  remove(options?: RemoveOptions): Promise<void>;
}
