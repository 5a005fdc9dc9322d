import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { checkSharedPid } from "./shared-pid.ts";
import { containerConfig, podConfig, testHost } from "../testing/spec-input.ts";

const { POD, CONTAINER, NODE, TARGET } = NamespaceMode;
interface Context {
  readonly capabilities?: {
    readonly addCapabilities?: string[];
    readonly addAmbientCapabilities?: string[];
    readonly dropCapabilities?: string[];
  };
  readonly privileged?: boolean;
  readonly runAsUser?: { readonly value: bigint };
}

const pod = (pid: NamespaceMode, more: object = {}): ReturnType<typeof podConfig> =>
  podConfig({ linux: { securityContext: { namespaceOptions: { pid, ...more } } } });
const config = (pid: NamespaceMode, context: Context = {}): ReturnType<typeof containerConfig> =>
  containerConfig({ linux: { securityContext: { ...context, namespaceOptions: { pid } } } });
const adding = (...addCapabilities: string[]): Context => ({ capabilities: { addCapabilities } });
const tracer = adding("SYS_PTRACE");

function refused(why: RegExp, ...[container, inPod, target]: Parameters<typeof check>): void {
  assert.throws(
    () => check(container, inPod, target),
    (error) => isKind(error, "failed-precondition") && why.test(String(error)),
  );
}
const check = (
  container: ReturnType<typeof config>,
  inPod = pod(POD),
  target?: ReturnType<typeof config>,
): void => checkSharedPid(container, inPod, target, testHost);

describe("checkSharedPid()", () => {
  test("refuses who could trace the OCI runtime of another container", () => {
    const ways = [
      tracer,
      adding("cap_sys_ptrace"),
      adding("ALL"),
      { capabilities: { addAmbientCapabilities: ["SYS_PTRACE"] } },
      { ...tracer, runAsUser: { value: 1000n } },
    ];
    for (const context of ways) {
      refused(/SYS_PTRACE is given.*ptrace_in_shared_pid/, config(POD, context));
      refused(/SYS_PTRACE is given/, config(TARGET, context), pod(CONTAINER), config(CONTAINER));
    }
    // The zero value of a request without options is POD.
    const bare = containerConfig({ linux: { securityContext: tracer } });
    refused(/SYS_PTRACE is given/, bare, podConfig({ linux: {} }));
  });

  test("refuses to join a container that could trace", () => {
    const target = config(CONTAINER, tracer);
    refused(/target_id names a container/, config(TARGET), pod(CONTAINER), target);
    check(config(TARGET), pod(CONTAINER), config(CONTAINER));
  });

  test("lets others be", () => {
    check(config(POD));
    check(config(POD, adding("NET_ADMIN")));
    check(
      config(POD, { capabilities: { addCapabilities: ["ALL"], dropCapabilities: ["SYS_PTRACE"] } }),
    );
    check(config(CONTAINER, tracer));
    check(config(CONTAINER, tracer), pod(CONTAINER));
    check(config(NODE, tracer), pod(NODE));
    check(containerConfig());
  });

  test("lets those be that gain nothing by it", () => {
    check(config(POD, { privileged: true }));
    check(config(TARGET), pod(CONTAINER), config(CONTAINER, { privileged: true }));
    const range = { containerId: 0, hostId: 65_536, length: 65_536 };
    const usernsOptions = { mode: POD, uids: [range], gids: [range] };
    check(config(POD, tracer), pod(POD, { usernsOptions }));
  });
});
