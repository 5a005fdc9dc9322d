import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultApparmor, defaultApparmorName } from "./apparmor-default.ts";

test("defaultApparmor() is one profile of its name that includes no file", () => {
  const lines = defaultApparmor(["my-runtime"]).trimEnd().split("\n");
  assert.equal(
    lines[0],
    `profile ${defaultApparmorName} flags=(attach_disconnected, mediate_deleted) {`,
  );
  assert.equal(lines.at(-1), "}");
  for (const rule of lines.slice(1, -1)) assert.match(rule, /^ {2}[^#@"]*,$/);
  assert.ok(lines.includes("  signal (receive) peer=my-runtime,"));
  for (const forbidden of [
    "deny network alg,",
    "deny network vsock,",
    "deny mount,",
    "deny /proc/sysrq-trigger rwklx,",
    "deny /proc/* w,",
  ]) {
    assert.ok(lines.includes(`  ${forbidden}`), forbidden);
  }
});

test("defaultApparmor() leaves of /proc/sys/kernel the limits of shared memory alone", () => {
  const [, names = ""] = /\/proc\/sys\/kernel\/\{([^}]*)\}/.exec(defaultApparmor()) ?? [];
  const denied = names.split(",").map((glob) => {
    const pattern = glob.replaceAll("?", "[^/]").replaceAll("*", "[^/]*");
    return new RegExp(`^${pattern}$`);
  });
  const isDenied = (name: string): boolean => denied.some((glob) => glob.test(name));
  for (const own of ["shmmax", "shmall", "shmmni", "shm_rmid_forced"]) {
    assert.equal(isDenied(own), false, own);
  }
  for (const nodes of [
    "panic",
    "core_pattern",
    "sysrq",
    "sg-big-buff",
    "sem",
    "seccomp",
    "s",
    "hostname",
  ]) {
    assert.equal(isDenied(nodes), true, nodes);
  }
});
