import type { LinuxContainerSecurityContext } from "../../gen/runtime/v1/api_pb.ts";
import { SecurityProfile_ProfileType } from "../../gen/runtime/v1/api_pb.ts";
import type { SpecInput } from "../input.ts";
import { enumName, quoted, refuse, refuseHere } from "../refuse.ts";
import type { OciLinux, OciSeccomp } from "../../core/oci/index.ts";
import { defaultSeccomp } from "./seccomp-default.ts";

/** The seccomp or AppArmor profile of a request. */
export type ProfileChoice =
  | { readonly name: "unconfined" }
  | { readonly name: "runtime-default" }
  | { readonly name: "localhost"; readonly ref: string };

const unconfined: ProfileChoice = { name: "unconfined" };

/**
 * The seccomp profile of a request: the new field, else the old one (`runtime/default`,
 * `localhost/PATH`, `unconfined`), else none. A privileged container never has one. For
 * `localhost` the caller reads the file at `ref`. `invalid-argument` for what is neither.
 */
export function seccompChoice(context: LinuxContainerSecurityContext | undefined): ProfileChoice {
  if (context === undefined || context.privileged) return unconfined;
  const choice =
    context.seccomp === undefined
      ? // eslint-disable-next-line @typescript-eslint/no-deprecated -- clients still send it
        oldChoice("seccomp_profile_path", context.seccompProfilePath)
      : newChoice("seccomp", context.seccomp);
  if (choice.name === "localhost" && !choice.ref.startsWith("/")) {
    refuse(`seccomp.localhost_ref must be an absolute path, got ${quoted(choice.ref)}`);
  }
  return choice;
}

/**
 * The AppArmor profile of a request, read like {@link seccompChoice}; `ref` is a loaded profile's
 * name. A request without one gets the default, as with containerd and CRI-O.
 */
export function apparmorChoice(context: LinuxContainerSecurityContext | undefined): ProfileChoice {
  if (context?.privileged === true) return unconfined;
  if (context?.apparmor !== undefined) return newChoice("apparmor", context.apparmor);
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- clients still send it
  const old = context?.apparmorProfile ?? "";
  return old === "" ? { name: "runtime-default" } : oldChoice("apparmor_profile", old);
}

function newChoice(
  field: string,
  profile: { readonly profileType: SecurityProfile_ProfileType; readonly localhostRef: string },
): ProfileChoice {
  const { profileType, localhostRef } = profile;
  if (profileType === SecurityProfile_ProfileType.Localhost) {
    if (localhostRef === "")
      refuse(`${field}.localhost_ref is empty, profile type Localhost needs it`);
    return { name: "localhost", ref: withoutPrefix(localhostRef) };
  }
  if (localhostRef !== "") {
    refuse(
      `${field}.localhost_ref is only for profile type Localhost, got ${quoted(localhostRef)}`,
    );
  }
  if (profileType === SecurityProfile_ProfileType.Unconfined) return unconfined;
  if (profileType === SecurityProfile_ProfileType.RuntimeDefault)
    return { name: "runtime-default" };
  return refuse(
    `${field}.profile_type is ${enumName(SecurityProfile_ProfileType, profileType)}, which is unknown`,
  );
}

function oldChoice(field: string, text: string): ProfileChoice {
  if (text === "" || text === "unconfined") return unconfined;
  if (text === "runtime/default" || text === "docker/default") return { name: "runtime-default" };
  if (text.startsWith("localhost/") && text !== "localhost/") {
    return { name: "localhost", ref: withoutPrefix(text) };
  }
  return refuse(
    `${field} must be runtime/default, unconfined or localhost/<name>, got ${quoted(text)}`,
  );
}

function withoutPrefix(ref: string): string {
  return ref.startsWith("localhost/") ? ref.slice("localhost/".length) : ref;
}

type SeccompInput = Pick<
  SpecInput,
  "config" | "host" | "runtime" | "localhostSeccomp" | "handlerSeccomp" | "allowSocketcall"
>;

/**
 * Seccomp filter, masked and read-only paths. The paths are exactly those of the request (kubelet
 * sends the defaults itself, and none for procMount Unmasked); a privileged container has none of
 * the three. `failed-precondition` when a filter is wanted and the OCI runtime has no seccomp.
 */
export function containerSecurity(
  input: SeccompInput,
  boundingSet: readonly string[],
): Pick<OciLinux, "seccomp" | "maskedPaths" | "readonlyPaths"> {
  const context = input.config.linux?.securityContext;
  if (context === undefined || context.privileged) return {};
  const seccomp = seccompOf(input, boundingSet);
  return {
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(context.maskedPaths.length === 0 ? {} : { maskedPaths: context.maskedPaths }),
    ...(context.readonlyPaths.length === 0 ? {} : { readonlyPaths: context.readonlyPaths }),
  };
}

function seccompOf(input: SeccompInput, boundingSet: readonly string[]): OciSeccomp | undefined {
  const choice = seccompChoice(input.config.linux?.securityContext);
  if (choice.name === "unconfined") return undefined;
  if (!input.runtime.seccomp)
    refuseHere("seccomp is wanted, but the OCI runtime was built without");
  if (choice.name === "runtime-default") {
    if (input.handlerSeccomp !== undefined) return input.handlerSeccomp;
    const { arch, kernel } = input.host;
    const allowSocketcall = input.allowSocketcall === true;
    return defaultSeccomp({ capabilities: boundingSet, arch, kernel, allowSocketcall });
  }
  // Never start a container unconfined that asked for a filter.
  return input.localhostSeccomp ?? refuse(`seccomp profile ${quoted(choice.ref)} was not read`);
}
