/** The kinds of objects that the fakes create on a host. */
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

/** The host below the fakes: its objects by id, and the order in which they were removed. */
export class FakeHost {
  readonly #things = new Set<string>();
  /** The removed objects, in order. */
  readonly removed: Thing[] = [];

  make(thing: Thing, id: string): void {
    this.#things.add(`${thing} ${id}`);
  }

  /** Does nothing when it does not exist. */
  remove(thing: Thing, id: string): void {
    if (this.#things.delete(`${thing} ${id}`)) this.removed.push(thing);
  }

  has(thing: Thing, id: string): boolean {
    return this.#things.has(`${thing} ${id}`);
  }

  /** The ids with an object of this kind. */
  idsOf(thing: Thing): readonly string[] {
    return [...this.#things].flatMap((each) => {
      const [kind, id = ""] = each.split(" ");
      return kind === thing ? [id] : [];
    });
  }

  /** The kinds of all existing objects. */
  things(): readonly string[] {
    return [...this.#things].map((each) => each.slice(0, each.indexOf(" "))).toSorted();
  }

  /** A reboot: kernel objects are gone, files stay, including assigned addresses. */
  reboot(): void {
    for (const each of this.#things) {
      if (!/^(network|root|volumes) /.test(each)) this.#things.delete(each);
    }
  }
}
