import { ObjectStore } from "../store/index.ts";
import type { SandboxRecords } from "./records.ts";
import type { Sandbox } from "./sandbox.ts";
import { checkSandboxTransition } from "./state.ts";

/** All sandboxes of this daemon. */
export class SandboxStore extends ObjectStore<Sandbox> {
  constructor(records: Pick<SandboxRecords, "putSandbox" | "deleteSandbox">) {
    super({
      noun: "sandbox",
      put: (sandbox) => {
        records.putSandbox(sandbox);
      },
      delete: (id) => {
        records.deleteSandbox(id);
      },
      checkChange: (before, after) => {
        checkSandboxTransition(before.id, before.state.name, after.state.name);
      },
    });
  }
}
