import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../base/errors.ts";
import { NamespaceMode } from "../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "./input.ts";
import { checkNamespaceOptions, containerNamespaces } from "./namespaces.ts";
import { containerConfig, podConfig, specInput, testHost } from "./testing/spec-input.ts";

const { CONTAINER, NODE, TARGET } = NamespaceMode;
interface Modes {
  readonly network?: NamespaceMode;
  readonly pid?: NamespaceMode;
  readonly ipc?: NamespaceMode;
  readonly targetId?: string;
  readonly usernsOptions?: {
    readonly mode: NamespaceMode;
    readonly uids: { containerId: number; hostId: number; length: number }[];
    readonly gids: { containerId: number; hostId: number; length: number }[];
  };
}
const linux = (namespaceOptions: Modes): { securityContext: { namespaceOptions: Modes } } => ({
  securityContext: { namespaceOptions },
});
const input = (pod: Modes, container: Modes, over: Partial<SpecInput> = {}): SpecInput =>
  specInput(
    { linux: linux(container) },
    { sandbox: { id: "s1", config: podConfig({ linux: linux(pod) }) }, ...over },
  );
const pathOf = (from: SpecInput, type: string): string | undefined => {
  const found = containerNamespaces(from).find((namespace) => namespace.type === type);
  return found === undefined ? "none" : found.path;
};

test("containerNamespaces() joins the pod's pins and makes a mount namespace", () => {
  const from = input({ pid: CONTAINER }, { pid: CONTAINER });
  assert.equal(pathOf(from, "network"), "/run/davit/ns/net/s1");
  assert.equal(pathOf(from, "ipc"), "/run/davit/ns/ipc/s1");
  assert.equal(pathOf(from, "uts"), "/run/davit/ns/uts/s1");
  assert.equal(pathOf(from, "mount"), undefined);
  assert.equal(pathOf(from, "user"), "none");
});

test("containerNamespaces() lists none that is the node's", () => {
  const all = { network: NODE, pid: NODE, ipc: NODE };
  assert.deepEqual(
    containerNamespaces(input(all, all, { sandboxPins: {} })).map(({ type }) => type),
    ["mount", "cgroup"],
  );
  // The pod decides, also for a container without a mode (the zero value is POD).
  assert.deepEqual(
    containerNamespaces(input(all, {}, { sandboxPins: {} })).map(({ type }) => type),
    ["mount", "cgroup"],
  );
});

test("containerNamespaces() refuses rather than run in the node's namespace by accident", () => {
  for (const gone of ["net", "ipc", "uts"]) {
    const pins = { net: "/n", ipc: "/i", uts: "/u", [gone]: undefined };
    assert.throws(
      () => containerNamespaces(input({}, { pid: CONTAINER }, { sandboxPins: pins })),
      (error) => isKind(error, "failed-precondition"),
    );
  }
});

test("containerNamespaces() gives each PID mode its namespace", () => {
  assert.equal(pathOf(input({ pid: CONTAINER }, { pid: CONTAINER }), "pid"), undefined);
  assert.equal(pathOf(input({}, {}, { sandboxPid: 42 }), "pid"), "/proc/42/ns/pid");
  assert.equal(pathOf(input({ pid: NODE }, { pid: NODE }), "pid"), "none");
  // The zero value is POD: a pod without a namespace to share gives each container its own.
  assert.equal(pathOf(input({ pid: CONTAINER }, {}, { sandboxPid: 42 }), "pid"), undefined);
  const target = { pid: TARGET, targetId: "c0" };
  assert.equal(pathOf(input({}, target, { targetPid: 7 }), "pid"), "/proc/7/ns/pid");
  for (const [from, why] of [
    [input({}, {}), /pod's PID namespace is gone, make a new sandbox/],
    [input({}, target), /container "c0".* does not run/],
  ] as const) {
    assert.throws(
      () => containerNamespaces(from),
      (error) => isKind(error, "failed-precondition") && why.test(String(error)),
    );
  }
});

test("containerNamespaces() hides the node's cgroups on v2, but not from a privileged container", () => {
  const cgroup = (cgroupVersion: 1 | 2, privileged: boolean): string | undefined =>
    pathOf(
      specInput(
        { linux: { securityContext: { privileged } } },
        { host: { ...testHost, cgroupVersion } },
      ),
      "cgroup",
    );
  assert.equal(cgroup(2, false), undefined);
  assert.equal(cgroup(2, true), "none");
  assert.equal(cgroup(1, false), "none");
});

test("checkNamespaceOptions() refuses modes that mean nothing or go beyond the pod", () => {
  const check = (pod: Modes, container: Modes) => (): void =>
    checkNamespaceOptions(
      containerConfig({ linux: linux(container) }),
      podConfig({ linux: linux(pod) }),
    );
  const bad: readonly (readonly [Modes, Modes, RegExp])[] = [
    [{}, { network: CONTAINER }, /network cannot be CONTAINER/],
    [{}, { ipc: TARGET }, /ipc cannot be TARGET/],
    [{}, { pid: 9 as NamespaceMode }, /pid cannot be 9/],
    [{}, { network: NODE }, /network is NODE, but the pod's own is not/],
    [{}, { pid: NODE }, /pid is NODE/],
    [{}, { pid: TARGET }, /target_id is empty/],
    [{}, { targetId: "c0" }, /target_id is only for pid TARGET/],
  ];
  for (const [pod, container, why] of bad) {
    assert.throws(
      check(pod, container),
      (error) => isKind(error, "invalid-argument") && why.test(String(error)),
    );
  }
  assert.doesNotThrow(check({ network: NODE, ipc: NODE, pid: NODE }, {}));
  assert.doesNotThrow(check({ network: NODE }, { network: NODE, pid: CONTAINER }));
  assert.doesNotThrow(() => checkNamespaceOptions(containerConfig(), podConfig()));
});

test("containerNamespaces() joins the pod's user namespace, and never leaves it out", () => {
  const range = { containerId: 0, hostId: 65_536, length: 1000 };
  const usernsOptions = { mode: NamespaceMode.POD, uids: [range], gids: [range] };
  const options = { pid: CONTAINER, usernsOptions };
  const pins = { net: "/n", ipc: "/i", uts: "/u", user: "/run/davit/ns/user/s1" };
  const own = input(options, options, { sandboxPins: pins });
  assert.equal(pathOf(own, "user"), "/run/davit/ns/user/s1");
  assert.throws(
    () => containerNamespaces(input(options, options)),
    (error) =>
      isKind(error, "failed-precondition") && /user namespace does not exist/.test(String(error)),
  );
});

test("checkNamespaceOptions() requires the pod's user namespace in each container", () => {
  const range = { containerId: 0, hostId: 65_536, length: 1000 };
  const users = (uid = range): object => ({
    usernsOptions: { mode: NamespaceMode.POD, uids: [uid], gids: [range] },
  });
  const check = (pod: object, container: object): void => {
    checkNamespaceOptions(
      containerConfig({ linux: linux(container) }),
      podConfig({ linux: linux(pod) }),
    );
  };
  check(users(), users());
  check({}, {});
  check({}, { usernsOptions: { mode: NODE } });
  check({ usernsOptions: { mode: NODE } }, {});
  const others = [{}, { usernsOptions: { mode: NODE } }, users({ ...range, hostId: 1 })];
  for (const other of others) {
    assert.throws(() => check(users(), other), /userns_options is not that of the pod/);
    assert.throws(() => check(other, users()), /userns_options is not that of the pod/);
  }
});
