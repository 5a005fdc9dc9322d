/** What a client asked for when it got its address. */
export type Verb = "exec" | "attach" | "portforward";

/** Concurrent connections of all pods; more are refused. A kubelet has a few. */
export const maxSessions = 4096;
/** Of one pod, so that whoever may exec in a pod leaves connections to others. */
export const maxSessionsOfPod = 256;

/** Counts the connections that are served. */
export class Sessions {
  /** By the verb of their request. */
  readonly counts: Readonly<Record<Verb, number>>;
  readonly #counts: Record<Verb, number> = { exec: 0, attach: 0, portforward: 0 };
  readonly #ofPod = new Map<string, number>();
  #all = 0;

  constructor() {
    this.counts = this.#counts;
  }

  /** Why another connection is refused; `undefined` if it is not. */
  refusal(sandboxId: string): string | undefined {
    const again = "try again later";
    if (this.#all >= maxSessions) return `there are ${maxSessions} connections already; ${again}`;
    if ((this.#ofPod.get(sandboxId) ?? 0) < maxSessionsOfPod) return undefined;
    return `there are ${maxSessionsOfPod} connections to this pod already; ${again}`;
  }

  /** Counts a connection until the result is called, once. */
  begin(verb: Verb, sandboxId: string): () => void {
    this.#change(verb, sandboxId, 1);
    return () => this.#change(verb, sandboxId, -1);
  }

  #change(verb: Verb, sandboxId: string, by: 1 | -1): void {
    const ofPod = (this.#ofPod.get(sandboxId) ?? 0) + by;
    if (ofPod === 0) this.#ofPod.delete(sandboxId);
    else this.#ofPod.set(sandboxId, ofPod);
    this.#counts[verb] += by;
    this.#all += by;
  }
}
