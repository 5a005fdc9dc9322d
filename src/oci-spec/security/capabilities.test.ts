import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import { CapabilitySchema } from "../../gen/runtime/v1/api_pb.ts";
import { defaultCapabilities, grantedCapabilities, linuxCapabilities } from "./capabilities.ts";
import type { OciCapabilities } from "../../core/oci/index.ts";

interface Asked {
  readonly add?: string[];
  readonly drop?: string[];
  readonly ambient?: string[];
  readonly privileged?: boolean;
}

function granted(asked: Asked, host: readonly string[] = linuxCapabilities): OciCapabilities {
  const capabilities = create(CapabilitySchema, {
    addCapabilities: asked.add ?? [],
    dropCapabilities: asked.drop ?? [],
    addAmbientCapabilities: asked.ambient ?? [],
  });
  return grantedCapabilities({ capabilities, privileged: asked.privileged ?? false }, host);
}

test("grantedCapabilities() gives the defaults, in the kernel's order and without ambient", () => {
  const sets = grantedCapabilities({ privileged: false }, linuxCapabilities);
  assert.deepEqual(sets, {
    bounding: defaultCapabilities,
    effective: defaultCapabilities,
    permitted: defaultCapabilities,
  });
  assert.equal(defaultCapabilities.length, 14);
  assert.deepEqual(
    defaultCapabilities,
    linuxCapabilities.filter((name) => defaultCapabilities.includes(name)),
  );
});

test("grantedCapabilities() gives no default that the daemon lacks itself", () => {
  const host = linuxCapabilities.filter((name) => name !== "CAP_MKNOD");
  assert.equal(granted({}, host).bounding.includes("CAP_MKNOD"), false);
  assert.equal(granted({}, host).bounding.length, 13);
});

test("grantedCapabilities() adds and drops by name, with and without CAP_, in any case", () => {
  const sets = granted({ add: ["net_admin", "CAP_SYS_TIME"], drop: ["Chown", "cap_kill"] });
  const want = [...defaultCapabilities, "CAP_NET_ADMIN", "CAP_SYS_TIME"]
    .filter((name) => name !== "CAP_CHOWN" && name !== "CAP_KILL")
    .toSorted((a, b) => linuxCapabilities.indexOf(a) - linuxCapabilities.indexOf(b));
  assert.deepEqual(sets.bounding, want);
  assert.deepEqual(sets.effective, want);
  assert.deepEqual(sets.permitted, want);
});

test("grantedCapabilities() takes ALL first, then single names", () => {
  assert.deepEqual(granted({ add: ["ALL"] }).bounding, linuxCapabilities);
  assert.deepEqual(granted({ drop: ["all"] }).bounding, []);
  assert.deepEqual(granted({ drop: ["ALL"], add: ["KILL"] }).bounding, ["CAP_KILL"]);
  assert.deepEqual(granted({ drop: ["ALL"], add: ["ALL"] }).bounding, []);
  assert.deepEqual(
    granted({ add: ["ALL"], drop: ["CHOWN"] }).bounding,
    linuxCapabilities.filter((name) => name !== "CAP_CHOWN"),
  );
  assert.equal(granted({ add: ["KILL"], drop: ["KILL"] }).bounding.includes("CAP_KILL"), false);
});

test("grantedCapabilities() never exceeds the host, nor ambient the permitted, for any request", () => {
  // A fixed walk through combinations: each bit of `seed` decides one capability of one list.
  const pick = (seed: number, salt: number): string[] =>
    linuxCapabilities.filter(
      (_, index) => ((seed * (index + salt) * 2_654_435_761) >>> 13) % 5 === 0,
    );
  for (let seed = 1; seed <= 400; seed++) {
    const missing = new Set(pick(seed, 7));
    const host = linuxCapabilities.filter((name) => !missing.has(name));
    const ofHost = (names: string[]): string[] => names.filter((name) => host.includes(name));
    const asked = {
      add: [...ofHost(pick(seed, 1)), ...(seed % 3 === 0 ? ["ALL"] : [])],
      drop: [...pick(seed, 2), ...(seed % 4 === 0 ? ["ALL"] : [])],
      ambient: ofHost(pick(seed, 3)),
      privileged: seed % 11 === 0,
    };
    const { bounding, effective, permitted, inheritable = [], ambient = [] } = granted(asked, host);
    assert.ok(bounding.every((name) => host.includes(name)));
    assert.deepEqual(effective, bounding);
    assert.deepEqual(permitted, bounding);
    assert.ok(ambient.every((name) => permitted.includes(name)));
    assert.deepEqual(inheritable, ambient);
    assert.equal(new Set(bounding).size, bounding.length);
    if (asked.privileged) assert.deepEqual(bounding, host);
    else assert.ok(asked.drop.every((name) => !bounding.includes(name)));
  }
});

test("grantedCapabilities() puts ambient ones into all five sets, and drops them from all", () => {
  const sets = granted({ ambient: ["NET_ADMIN", "KILL"], drop: ["KILL"] });
  assert.deepEqual(sets.ambient, ["CAP_NET_ADMIN"]);
  assert.deepEqual(sets.inheritable, ["CAP_NET_ADMIN"]);
  assert.ok(sets.bounding.includes("CAP_NET_ADMIN"));
  assert.equal(sets.bounding.includes("CAP_KILL"), false);
  assert.deepEqual(granted({ ambient: ["ALL"] }).ambient, linuxCapabilities);
});

test("grantedCapabilities() gives a privileged container all of the host, newer ones too", () => {
  const host = ["CAP_NEWER_THAN_THIS", "CAP_CHOWN"];
  assert.deepEqual(granted({ privileged: true, drop: ["ALL"] }, host).bounding, [
    "CAP_CHOWN",
    "CAP_NEWER_THAN_THIS",
  ]);
});

test("grantedCapabilities() refuses unknown names to add, and known ones that the daemon lacks", () => {
  assert.throws(
    () => granted({ add: ["FLY"] }),
    (error) =>
      isKind(error, "invalid-argument") && /unknown capability "CAP_FLY"/.test(String(error)),
  );
  assert.throws(
    () => granted({ ambient: ["SYS_BOOT"] }, ["CAP_CHOWN"]),
    (error) => isKind(error, "failed-precondition") && String(error).includes("CAP_SYS_BOOT"),
  );
  assert.doesNotThrow(() => granted({ drop: ["FLY"] }));
});
