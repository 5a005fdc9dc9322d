/** What the fakes make on a host. */
export type Thing =
  | "cgroup"
  | "files"
  | "namespaces"
  | "network"
  | "holder"
  | "root"
  | "volumes"
  | "bundle"
  | "process";

/** The host below the fakes: what has been made on it for whom, and in which order it went again. */
export class FakeHost {
  readonly #things = new Set<string>();
  /** What was removed, in order. */
  readonly removed: Thing[] = [];

  make(thing: Thing, id: string): void {
    this.#things.add(`${thing} ${id}`);
  }

  /** Nothing when it is not there. */
  remove(thing: Thing, id: string): void {
    if (this.#things.delete(`${thing} ${id}`)) this.removed.push(thing);
  }

  has(thing: Thing, id: string): boolean {
    return this.#things.has(`${thing} ${id}`);
  }

  /** The ids that have a thing of this kind. */
  idsOf(thing: Thing): readonly string[] {
    return [...this.#things].flatMap((each) => {
      const [kind, id = ""] = each.split(" ");
      return kind === thing ? [id] : [];
    });
  }

  /** The kinds of all things that are there. */
  things(): readonly string[] {
    return [...this.#things].map((each) => each.slice(0, each.indexOf(" "))).toSorted();
  }

  /** A reboot: what the kernel has is gone, what is on disk stays, addresses that were given out included. */
  reboot(): void {
    for (const each of this.#things) {
      if (!/^(network|root|volumes) /.test(each)) this.#things.delete(each);
    }
  }
}
