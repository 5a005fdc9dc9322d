import { randomBytes } from "node:crypto";
import { RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type { RunningOperation } from "../../core/operation/index.ts";
import {
  leaseIdOf,
  leaseLabel,
  type Sandbox,
  sandboxName,
  type SandboxStore,
} from "../../core/sandbox/index.ts";
import type { Janitor } from "./janitor.ts";
import { sandboxSubject } from "./subjects.ts";

/** How long the leases of the last daemon can be held again. Milliseconds. */
export const takeOverMs = 30_000;
/** The most leases at once. */
export const maxLeases = 1024;
/** The longest grace period; a longer one is shortened to it. */
export const maxGraceSeconds = 600;
/** The grace period for pods of a lease that nobody holds again: the one that its client chose is not recorded. */
const unheldGraceMs = 10_000;
/** How many removed pods are remembered for `davit why`. */
const maxRemoved = 64;

/** A lease as its pods see it. */
export interface PodLease {
  /**
   * Adds the create of a sandbox until the result is disposed of. The end of the lease aborts the create.
   * What it has finished nevertheless is removed.
   */
  addCreate(sandboxId: string, create: RunningOperation): Disposable;
}

/** A held lease. It ends when it is disposed of. */
interface HeldLease extends Disposable {
  readonly id: string;
  /** The number of its pods when it was held. */
  readonly pods: number;
  /** Rejects with `unavailable` when the daemon exits. The lease does not end then. */
  readonly interrupted: Promise<never>;
}

/** A pod that was removed because its lease ended. */
export interface RemovedPod {
  readonly sandbox: string;
  /** The unique name of the sandbox. */
  readonly name: string;
  readonly lease: string;
  /** When its removal began, milliseconds since 1970. */
  readonly atMs: number;
}

/** Removes a pod that no client removes; see removeUnattended(). */
export type RemovePod = (
  id: string,
  how: { readonly graceMs: number; readonly why: string },
) => Promise<void>;

interface Deps {
  readonly store: Pick<SandboxStore, "all">;
  readonly janitor: Pick<Janitor, "adopt">;
  readonly removePod: RemovePod;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * The leases of clients: pods with the label of a lease go when the lease ends, because its client ends or
 * loses its connection.
 *
 * A lease is in memory. After a restart of the daemon, the labels of the recorded pods say which leases
 * there were. They end after {@link takeOverMs} unless a client holds them again. A lease without pods is
 * forgotten.
 */
export class Leases implements Disposable {
  readonly #deps: Deps;
  readonly #leases = new Map<string, Lease>();
  readonly #removed: RemovedPod[] = [];
  #closed: RuntimeError | undefined;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  /** Begins to wait for the clients of the last daemon's leases; once, when the sandboxes are restored. */
  begin(): Promise<void> {
    for (const { config } of this.#deps.store.all()) {
      const id = leaseIdOf(config);
      if (id === undefined || this.#leases.has(id)) continue;
      const lease = new Lease(id, unheldGraceMs, (of) => this.#removePods(of));
      lease.waitFor(takeOverMs, () => this.#end(lease));
      this.#leases.set(id, lease);
      const seconds = takeOverMs / 1000;
      this.#deps.log.info("a lease can be held again", { lease: id, seconds });
    }
    return Promise.resolve();
  }

  /**
   * Holds a new lease, or one of the last daemon.
   *
   * `not-found` for an id that there is not, `already-exists` for one that is held, `resource-exhausted` beyond
   * {@link maxLeases}.
   */
  hold({ id, graceSeconds }: { readonly id: string; readonly graceSeconds: number }): HeldLease {
    if (this.#closed !== undefined) throw this.#closed;
    const graceMs = Math.min(graceSeconds, maxGraceSeconds) * 1000;
    const lease = id === "" ? this.#new(graceMs) : this.#again(id, graceMs);
    const { promise: interrupted, reject } = Promise.withResolvers<never>();
    interrupted.catch(() => undefined);
    lease.hold(graceMs, reject);
    return {
      id: lease.id,
      pods: this.#podsOf(lease).length,
      interrupted,
      [Symbol.dispose]: () => {
        if (this.#closed === undefined) this.#end(lease);
      },
    };
  }

  /**
   * The lease that a pod needs; undefined for a pod without its label. `failed-precondition` when nobody
   * holds it.
   */
  neededBy(config: Sandbox["config"]): PodLease | undefined {
    const id = leaseIdOf(config);
    if (id === undefined) return undefined;
    const lease = this.#leases.get(id);
    if (lease?.isHeld === true) return lease;
    const name = config.metadata === undefined ? "" : sandboxName(config.metadata);
    throw new RuntimeError(
      "failed-precondition",
      `run pod sandbox "${name}": its label "${leaseLabel}" is ${JSON.stringify(id.slice(0, 64))}, and nobody holds this lease; hold a lease by davit.v1.Leases/Hold and use its id, or remove the label`,
    );
  }

  /** The leases, for the verbose Status, and the pods that were removed last because theirs ended. */
  facts(): Readonly<Record<string, unknown>> {
    const leases = [...this.#leases.values()].map((lease) => ({
      id: lease.id,
      state: lease.isHeld ? "held" : "waiting",
      pods: this.#podsOf(lease).length,
    }));
    return { leases, leaseRemovals: this.#removed };
  }

  /** The daemon exits: holds are interrupted, and no pod is removed. */
  close(reason: RuntimeError): void {
    this.#closed = reason;
    for (const lease of this.#leases.values()) lease.interrupt(reason);
  }

  [Symbol.dispose](): void {
    this.close(new RuntimeError("unavailable", "davit is shutting down"));
  }

  #new(graceMs: number): Lease {
    if (this.#leases.size >= maxLeases) {
      throw new RuntimeError(
        "resource-exhausted",
        `hold a lease: there are ${maxLeases} already; use one lease for several pods, or end others`,
      );
    }
    const id = randomBytes(16).toString("hex");
    const lease = new Lease(id, graceMs, (of) => this.#removePods(of));
    this.#leases.set(id, lease);
    this.#deps.log.info("a lease began", { lease: id });
    return lease;
  }

  #again(id: string, graceMs: number): Lease {
    const lease = this.#leases.get(id);
    const shown = JSON.stringify(id.slice(0, 64));
    if (lease === undefined) {
      throw new RuntimeError(
        "not-found",
        `hold lease ${shown}: there is none with this id, or it has ended; leave the id empty for a new one`,
      );
    }
    if (lease.isHeld) {
      throw new RuntimeError(
        "already-exists",
        `hold lease ${shown}: another call holds it; leave the id empty for a new one`,
      );
    }
    const graceSeconds = graceMs / 1000;
    this.#deps.log.info("a lease is held again", { lease: id, graceSeconds });
    return lease;
  }

  #end(lease: Lease): void {
    if (!this.#leases.delete(lease.id)) return;
    const pods = this.#podsOf(lease).length;
    this.#deps.log.info("a lease ended", { lease: lease.id, pods });
    lease.end();
    this.#removePods(lease);
  }

  /** Removes the pods of a lease that has ended, except those whose creates have not. */
  #removePods(lease: Lease): void {
    const { janitor, removePod, clock, log } = this.#deps;
    for (const { id, name, config } of this.#podsOf(lease)) {
      if (!lease.takesOver(id)) continue;
      const subject = sandboxSubject({ id, config });
      log.info("removing a pod because its lease ended", { ...subject, lease: lease.id });
      this.#removed.push({ sandbox: id, name, lease: lease.id, atMs: clock.nowMs() });
      if (this.#removed.length > maxRemoved) this.#removed.shift();
      let { graceMs } = lease;
      janitor.adopt(id, () => {
        const how = { graceMs, why: "its lease ended" };
        // A container that had its grace period is killed when the removal is repeated.
        graceMs = 0;
        return removePod(id, how);
      });
    }
  }

  #podsOf({ id }: Lease): readonly Sandbox[] {
    return [...this.#deps.store.all()].filter(({ config }) => leaseIdOf(config) === id);
  }
}

/** One lease: held, waiting to be held again, or ended. */
class Lease implements PodLease {
  readonly id: string;
  graceMs: number;
  readonly #creates = new Map<string, RunningOperation>();
  readonly #removed = new Set<string>();
  readonly #onLate: (lease: Lease) => void;
  #interrupt: ((reason: RuntimeError) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #hasEnded = false;

  /** @param onLate called when a create ends after the lease */
  constructor(id: string, graceMs: number, onLate: (lease: Lease) => void) {
    this.id = id;
    this.graceMs = graceMs;
    this.#onLate = onLate;
  }

  get isHeld(): boolean {
    return this.#interrupt !== undefined;
  }

  hold(graceMs: number, interrupt: (reason: RuntimeError) => void): void {
    clearTimeout(this.#timer);
    this.graceMs = graceMs;
    this.#interrupt = interrupt;
  }

  /** Calls `onOver` unless the lease is held in time. */
  waitFor(ms: number, onOver: () => void): void {
    this.#timer = setTimeout(onOver, ms);
    this.#timer.unref();
  }

  interrupt(reason: RuntimeError): void {
    clearTimeout(this.#timer);
    this.#interrupt?.(reason);
  }

  end(): void {
    this.#hasEnded = true;
    for (const create of this.#creates.values()) create.abort(leaseEnded());
  }

  /** True once for a pod that is to be removed; false while it is being created. */
  takesOver(sandboxId: string): boolean {
    if (this.#creates.has(sandboxId) || this.#removed.has(sandboxId)) return false;
    this.#removed.add(sandboxId);
    return true;
  }

  addCreate(sandboxId: string, create: RunningOperation): Disposable {
    this.#creates.set(sandboxId, create);
    if (this.#hasEnded) create.abort(leaseEnded());
    return {
      [Symbol.dispose]: () => {
        this.#creates.delete(sandboxId);
        if (this.#hasEnded) this.#onLate(this);
      },
    };
  }
}

function leaseEnded(): RuntimeError {
  return new RuntimeError("aborted", "the lease of the pod ended");
}
