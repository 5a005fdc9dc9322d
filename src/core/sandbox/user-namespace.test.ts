import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
  UserNamespaceSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { podSysctls } from "./sysctls.ts";
import { checkUserNamespace, isSameUserNamespace, podUsers } from "./user-namespace.ts";

const { POD, NODE, CONTAINER, TARGET } = NamespaceMode;
const uids = { containerId: 0, hostId: 65_536, length: 65_536 };
const gids = { containerId: 0, hostId: 131_072, length: 1000 };
const users = { mode: POD, uids: [uids], gids: [gids] };

function config(usernsOptions?: object, modes: object = {}): PodSandboxConfig {
  const namespaceOptions = { ...modes, ...(usernsOptions === undefined ? {} : { usernsOptions }) };
  return create(PodSandboxConfigSchema, { linux: { securityContext: { namespaceOptions } } });
}

test("podUsers() are the two ranges of a pod with its own user namespace", () => {
  const found = podUsers(config(users));
  assert.deepEqual(
    [found?.uids.hostId, found?.gids.hostId, found?.gids.length],
    [65_536, 131_072, 1000],
  );
  assert.equal(podUsers(config()), undefined);
  assert.equal(podUsers(config({ mode: NODE })), undefined);
  assert.equal(podUsers(create(PodSandboxConfigSchema)), undefined);
});

test("checkUserNamespace() accepts supported namespaces", () => {
  const last = { containerId: 0, hostId: 4_294_967_294, length: 1 };
  for (const sound of [undefined, { mode: NODE }, users, { ...users, uids: [last] }]) {
    assert.doesNotThrow(() => checkUserNamespace(config(sound)));
  }
  assert.doesNotThrow(() => checkUserNamespace(config(users, { network: NODE, pid: CONTAINER })));
});

test("checkUserNamespace() rejects the rest, with field and value", () => {
  const bad: readonly (readonly [object, RegExp, object?])[] = [
    [{ mode: NODE, uids: [uids] }, /userns_options has uids or gids, which mode NODE cannot have/],
    [{ mode: NODE, gids: [gids] }, /mode NODE cannot have/],
    [{ ...users, mode: CONTAINER }, /userns_options\.mode must be POD or NODE, got CONTAINER/],
    [{ ...users, mode: TARGET }, /mode must be POD or NODE, got TARGET/],
    [{ ...users, mode: 9 as NamespaceMode }, /mode must be POD or NODE, got 9/],
    [{ mode: POD }, /uids must be one mapping, got 0/],
    [{ mode: POD, uids: [uids] }, /gids must be one mapping, got 0/],
    [{ ...users, uids: [uids, uids] }, /uids must be one mapping, got 2/],
    [
      { ...users, gids: [{ ...gids, containerId: 5 }] },
      /gids must begin with container_id 0, got 5/,
    ],
    [{ ...users, uids: [{ ...uids, length: 0 }] }, /uids has length 0/],
    [{ ...users, uids: [{ ...uids, hostId: 4_294_967_295 }] }, /uids must end below 4294967295/],
    [{ ...users, gids: [{ ...gids, length: 4_294_967_295 }] }, /gids must end below 4294967295/],
    [users, /namespace_options\.pid NODE/, { pid: NODE }],
    [users, /namespace_options\.ipc NODE/, { ipc: NODE }],
  ];
  for (const [options, why, modes] of bad) {
    assert.throws(
      () => checkUserNamespace(config(options, modes)),
      (error) => isKind(error, "invalid-argument") && why.test(String(error)),
      String(why),
    );
  }
});

test("isSameUserNamespace() compares what is meant", () => {
  const own = create(UserNamespaceSchema, users);
  const node = create(UserNamespaceSchema, { mode: NODE });
  assert.ok(isSameUserNamespace(own, create(UserNamespaceSchema, users)));
  assert.ok(isSameUserNamespace(undefined, undefined) && isSameUserNamespace(undefined, node));
  assert.ok(!isSameUserNamespace(own, undefined) && !isSameUserNamespace(node, own));
  const other = create(UserNamespaceSchema, { ...users, gids: [{ ...gids, length: 1001 }] });
  assert.ok(!isSameUserNamespace(own, other));
});

test("podSysctls() lets the groups of a user namespace ping, which are all that it has", () => {
  const groups = (from: PodSandboxConfig): string | undefined =>
    new Map(podSysctls(from)).get("net.ipv4.ping_group_range");
  assert.equal(groups(config()), "0 2147483647");
  assert.equal(groups(config(users)), `0 ${gids.length - 1}`);
  const asked = config(users);
  assert.ok(asked.linux !== undefined);
  asked.linux.sysctls = { "net.ipv4.ping_group_range": "0 999" };
  assert.deepEqual(podSysctls(asked).at(-1), ["net.ipv4.ping_group_range", "0 999"]);
});
