/* eslint-disable @typescript-eslint/no-deprecated -- clients still send the old fields */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import {
  LinuxContainerSecurityContextSchema,
  SecurityProfile_ProfileType,
} from "../../gen/runtime/v1/api_pb.ts";
import {
  apparmorChoice,
  containerSecurity,
  type ProfileChoice,
  seccompChoice,
} from "./security.ts";
import { specInput } from "../testing/spec-input.ts";

type Init = MessageInitShape<typeof LinuxContainerSecurityContextSchema>;
const { RuntimeDefault, Unconfined, Localhost } = SecurityProfile_ProfileType;
const choose = (init: Init): ProfileChoice =>
  seccompChoice(create(LinuxContainerSecurityContextSchema, init));

test("the handler's profile replaces davit's own for RuntimeDefault alone", () => {
  const handlerSeccomp = { defaultAction: "SCMP_ACT_LOG" } as const;
  const of = (profileType: SecurityProfile_ProfileType): unknown =>
    containerSecurity(
      specInput(
        { linux: { securityContext: { seccomp: { profileType, localhostRef: "" } } } },
        { handlerSeccomp },
      ),
      [],
    ).seccomp;
  assert.equal(of(RuntimeDefault), handlerSeccomp);
  assert.equal(of(Unconfined), undefined);
});

test("seccompChoice() reads the new field first, then the old one", () => {
  assert.deepEqual(seccompChoice(undefined), { name: "unconfined" });
  assert.deepEqual(choose({}), { name: "unconfined" });
  assert.deepEqual(choose({ seccomp: { profileType: RuntimeDefault } }), {
    name: "runtime-default",
  });
  assert.deepEqual(
    choose({ seccomp: { profileType: Unconfined }, seccompProfilePath: "runtime/default" }),
    {
      name: "unconfined",
    },
  );
  assert.deepEqual(choose({ seccomp: { profileType: Localhost, localhostRef: "/p.json" } }), {
    name: "localhost",
    ref: "/p.json",
  });
  assert.deepEqual(choose({ seccompProfilePath: "docker/default" }), { name: "runtime-default" });
  assert.deepEqual(choose({ seccompProfilePath: "localhost//p.json" }), {
    name: "localhost",
    ref: "/p.json",
  });
});

test("seccompChoice() gives a privileged container none", () => {
  assert.deepEqual(choose({ privileged: true, seccomp: { profileType: RuntimeDefault } }), {
    name: "unconfined",
  });
});

test("seccompChoice() and apparmorChoice() refuse what names no profile", () => {
  const bad: readonly (readonly [Init, RegExp])[] = [
    [{ seccomp: { profileType: Localhost } }, /seccomp.localhost_ref is empty/],
    [
      { seccomp: { profileType: Localhost, localhostRef: "p.json" } },
      /absolute path, got "p.json"/,
    ],
    [
      { seccomp: { profileType: RuntimeDefault, localhostRef: "/p" } },
      /only for profile type Localhost/,
    ],
    [{ seccomp: { profileType: 9 as typeof Localhost } }, /profile_type is 9/],
    [{ seccompProfilePath: "what" }, /seccomp_profile_path must be/],
    [{ seccompProfilePath: "localhost/" }, /seccomp_profile_path must be/],
  ];
  for (const [init, why] of bad) {
    assert.throws(
      () => choose(init),
      (error) => isKind(error, "invalid-argument") && why.test(String(error)),
    );
  }
  const apparmor = (init: Init): ProfileChoice =>
    apparmorChoice(create(LinuxContainerSecurityContextSchema, init));
  assert.deepEqual(apparmor({ apparmorProfile: "localhost/my-profile" }), {
    name: "localhost",
    ref: "my-profile",
  });
  assert.deepEqual(apparmor({ apparmor: { profileType: Localhost, localhostRef: "x" } }), {
    name: "localhost",
    ref: "x",
  });
  assert.deepEqual(apparmor({}), { name: "runtime-default" });
  assert.deepEqual(apparmorChoice(undefined), { name: "runtime-default" });
  assert.deepEqual(apparmor({ privileged: true, apparmorProfile: "runtime/default" }), {
    name: "unconfined",
  });
  assert.throws(() => apparmor({ apparmorProfile: "no" }), /apparmor_profile must be/);
});

test("containerSecurity() writes the request's paths exactly, and none when it gives none", () => {
  const paths = { maskedPaths: ["/b", "/a", "/b"], readonlyPaths: ["/c"] };
  const of = (securityContext: Init): unknown =>
    containerSecurity(specInput({ linux: { securityContext } }), []);
  assert.deepEqual(of(paths), paths);
  assert.deepEqual(of({}), {});
  assert.deepEqual(
    of({ ...paths, privileged: true, seccomp: { profileType: RuntimeDefault } }),
    {},
  );
});

test("containerSecurity() never leaves out a filter that was asked for", () => {
  const localhost = { seccomp: { profileType: Localhost, localhostRef: "/p.json" } };
  const input = specInput({ linux: { securityContext: localhost } });
  assert.throws(() => containerSecurity(input, []), /"\/p.json" was not read/);
  const profile = { defaultAction: "SCMP_ACT_KILL" } as const;
  assert.equal(containerSecurity({ ...input, localhostSeccomp: profile }, []).seccomp, profile);
  const runtime = { ...input.runtime, seccomp: false };
  assert.throws(
    () => containerSecurity({ ...input, runtime, localhostSeccomp: profile }, []),
    (error) => isKind(error, "failed-precondition"),
  );
});
