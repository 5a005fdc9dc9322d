import { RuntimeError } from "../../base/errors.ts";
import type { BoundHandler, Handlers } from "../../core/handler/index.ts";

/** The handlers "crun", which is the default, and "old": its controller is not in this daemon. */
export class FakeHandlers implements Handlers {
  /** Why pods cannot have user namespaces. */
  noUserNamespaces: string | undefined;

  bind(requested: string): BoundHandler {
    const name = requested === "" ? "crun" : requested;
    if (name === "crun") return { requested, name, controller: "podsandbox", path: "/bin/crun" };
    if (name === "old") return { requested, name, controller: "gone" };
    throw new RuntimeError("invalid-argument", `find handler "${name}": there are crun, old`);
  }

  async checkUserNamespaces({ name }: BoundHandler): Promise<void> {
    if (this.noUserNamespaces === undefined) return;
    throw new RuntimeError("failed-precondition", `handler "${name}": ${this.noUserNamespaces}`);
  }
}
