import { ObjectStore, type RecordTable } from "../store/index.ts";
import type { Sandbox } from "./sandbox.ts";
import { checkSandboxTransition } from "./state.ts";

/** All sandboxes of this daemon. */
export class SandboxStore extends ObjectStore<Sandbox> {
  constructor(records: Pick<RecordTable<Sandbox>, "put" | "delete">) {
    super({
      noun: "sandbox",
      records,
      checkChange: (before, after) => {
        checkSandboxTransition(before.id, before.state.name, after.state.name);
      },
    });
  }
}
