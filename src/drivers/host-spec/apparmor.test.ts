/* eslint-disable @typescript-eslint/no-deprecated -- clients still send the old fields */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import {
  type ContainerConfig,
  ContainerConfigSchema,
  type LinuxContainerSecurityContextSchema,
  SecurityProfile_ProfileType,
} from "../../gen/runtime/v1/api_pb.ts";
import { Apparmor, apparmorObstacle, profileNames } from "./apparmor.ts";

const { RuntimeDefault, Unconfined, Localhost } = SecurityProfile_ProfileType;
type Init = Omit<MessageInitShape<typeof LinuxContainerSecurityContextSchema>, "$typeName">;

function config(securityContext?: Init): ContainerConfig {
  return create(ContainerConfigSchema, securityContext && { linux: { securityContext } });
}

/** A host with these profiles, that loads or cannot. */
function hostWith(names: readonly string[] | undefined, canLoad = true) {
  const loaded = names && new Set(names);
  const texts: string[] = [];
  return {
    texts,
    names: loaded,
    loaded: () => Promise.resolve(loaded),
    load: (text: string) => {
      if (!canLoad) return Promise.resolve(false);
      texts.push(text);
      loaded?.add("davit-default");
      return Promise.resolve(true);
    },
  };
}

test("Apparmor loads the default profile once for all that ask at once, and again when it is gone", async () => {
  const host = hostWith(["other"]);
  const apparmor = new Apparmor(host);
  const asked = [
    config(),
    config({}),
    config({ apparmor: { profileType: RuntimeDefault } }),
    config({ apparmorProfile: "runtime/default" }),
  ];
  const names = await Promise.all(asked.map((one) => apparmor.profileOf(one)));
  assert.deepEqual(new Set(names), new Set(["davit-default"]));
  assert.equal(host.texts.length, 1);
  assert.match(host.texts[0] ?? "", /^profile davit-default /);
  host.names?.delete("davit-default");
  assert.equal(await apparmor.profileOf(config()), "davit-default");
  assert.equal(host.texts.length, 2);
});

test("Apparmor replaces the default profile of an earlier davit", async () => {
  const host = hostWith(["davit-default"]);
  assert.equal(await new Apparmor(host).profileOf(config()), "davit-default");
  assert.equal(host.texts.length, 1);
});

test("Apparmor leaves the default out where the node has no AppArmor or nothing to load it with", async () => {
  for (const host of [hostWith(undefined), hostWith([], false)]) {
    const apparmor = new Apparmor(host);
    assert.equal(await apparmor.profileOf(config()), undefined);
    assert.equal(await apparmor.profileOf(config()), undefined);
  }
});

test("Apparmor applies a profile by name, by the new field before the old one", async () => {
  const apparmor = new Apparmor(hostWith(["mine", "a b"]));
  const localhost = (localhostRef: string): Init => ({
    apparmor: { profileType: Localhost, localhostRef },
  });
  assert.equal(await apparmor.profileOf(config(localhost("mine"))), "mine");
  assert.equal(await apparmor.profileOf(config(localhost("localhost/a b"))), "a b");
  const old = { apparmorProfile: "localhost/mine" } as Init;
  assert.equal(await apparmor.profileOf(config(old)), "mine");
  const both = { ...old, apparmor: { profileType: Unconfined } };
  assert.equal(await apparmor.profileOf(config(both)), undefined);
  for (const missing of [localhost("theirs"), { apparmorProfile: "localhost/theirs" } as Init]) {
    await assert.rejects(
      apparmor.profileOf(config(missing)),
      (error) => isKind(error, "failed-precondition") && /"theirs".*not loaded/.test(String(error)),
    );
  }
  await assert.rejects(
    new Apparmor(hostWith(undefined)).profileOf(config(old)),
    (error) => isKind(error, "failed-precondition") && /no AppArmor/.test(String(error)),
  );
});

test("Apparmor leaves privileged and unconfined containers alone", async () => {
  const host = hostWith([]);
  const apparmor = new Apparmor(host);
  const profile = { apparmor: { profileType: Localhost, localhostRef: "theirs" } };
  assert.equal(await apparmor.profileOf(config({ ...profile, privileged: true })), undefined);
  assert.equal(await apparmor.profileOf(config({ apparmorProfile: "unconfined" })), undefined);
  assert.deepEqual(host.texts, []);
});

test("profileNames() takes names with blanks and brackets", () => {
  const text =
    "docker-default (enforce)\n/usr/bin/man (complain)\nmy (odd) one (kill)\nx//y (unconfined)\n";
  assert.deepEqual(
    [...profileNames(text)],
    ["docker-default", "/usr/bin/man", "my (odd) one", "x//y"],
  );
});

test("apparmorObstacle() is that the kernel has AppArmor on and nothing can load a profile", () => {
  const missing = (): undefined => undefined;
  const there = (): string => "/sbin/apparmor_parser";
  const off = (): string => "N\n";
  const on = (): string => "Y\n";
  const built = (): never => {
    throw new Error("ENOENT");
  };
  assert.match(
    apparmorObstacle(on, missing) ?? "",
    /apparmor_parser is missing.* install apparmor/,
  );
  assert.equal(apparmorObstacle(on, there), undefined);
  assert.equal(apparmorObstacle(off, missing), undefined);
  assert.equal(apparmorObstacle(built, missing), undefined);
});
