import { SecurityProfile_ProfileType, SupplementalGroupsPolicy } from "../gen/runtime/v1/api_pb.ts";
import type { Fields, UnsupportedFields } from "./fields.ts";

/** A seccomp or AppArmor profile, as in the CRI. */
interface Profile {
  readonly profileType: SecurityProfile_ProfileType;
  readonly localhostRef: string;
}

/** SELinux options, as in the CRI. */
interface SelinuxOptions {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}

/** The fields that the security contexts of pods and containers share. */
interface CommonSecurity {
  readonly runAsUser: number | undefined;
  readonly runAsGroup: number | undefined;
  readonly runAsNonRoot: boolean | undefined;
  readonly seccomp: Profile | undefined;
  readonly apparmor: Profile | undefined;
  readonly selinux: SelinuxOptions | undefined;
}

/** A pod's securityContext. */
export interface PodSecurity extends CommonSecurity {
  readonly fsGroup: number | undefined;
  readonly supplementalGroups: readonly number[];
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
  readonly sysctls: Readonly<Record<string, string>>;
}

/** A container's securityContext. */
export interface ContainerSecurity extends CommonSecurity {
  readonly privileged: boolean;
  readonly allowPrivilegeEscalation: boolean | undefined;
  readonly readOnlyRootFilesystem: boolean;
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly unmaskedProc: boolean;
}

// Kubernetes limits ids to signed 32-bit numbers.
const maxId = 2 ** 31 - 1;

// The directory in which kubelet looks for seccomp profiles.
const seccompDirectory = "/var/lib/kubelet/seccomp";

const unsupportedFields: UnsupportedFields = { windowsOptions: "davit runs Linux containers" };

/** Reads spec.securityContext. */
export function readPodSecurity(fields: Fields): PodSecurity {
  const policies = ["Merge", "Strict"] as const;
  const policy = fields.choice("supplementalGroupsPolicy", policies) ?? "Merge";
  const security: PodSecurity = {
    ...readCommon(fields),
    fsGroup: fields.integer("fsGroup", 0, maxId),
    supplementalGroups: fields.integers("supplementalGroups", maxId),
    supplementalGroupsPolicy: SupplementalGroupsPolicy[policy],
    sysctls: readSysctls(fields),
  };
  // An emptyDir is always new, so both values have the same effect.
  fields.choice("fsGroupChangePolicy", ["OnRootMismatch", "Always"]);
  fields.rejectUnread(unsupportedFields);
  return security;
}

/** Reads securityContext of a container. */
export function readContainerSecurity(fields: Fields): ContainerSecurity {
  const capabilities = fields.objectOrEmpty("capabilities");
  const security: ContainerSecurity = {
    ...readCommon(fields),
    privileged: fields.boolean("privileged") ?? false,
    allowPrivilegeEscalation: fields.boolean("allowPrivilegeEscalation"),
    readOnlyRootFilesystem: fields.boolean("readOnlyRootFilesystem") ?? false,
    addCapabilities: capabilities.strings("add"),
    dropCapabilities: capabilities.strings("drop"),
    unmaskedProc: fields.choice("procMount", ["Default", "Unmasked"]) === "Unmasked",
  };
  if (security.allowPrivilegeEscalation === false) {
    const raises = security.privileged || security.addCapabilities.includes("SYS_ADMIN");
    if (raises) {
      fields.reject(
        "allowPrivilegeEscalation",
        "is false: must not be combined with privileged or SYS_ADMIN",
      );
    }
  }
  capabilities.rejectUnread();
  fields.rejectUnread(unsupportedFields);
  return security;
}

function readCommon(fields: Fields): CommonSecurity {
  const shared: CommonSecurity = {
    runAsUser: fields.integer("runAsUser", 0, maxId),
    runAsGroup: fields.integer("runAsGroup", 0, maxId),
    runAsNonRoot: fields.boolean("runAsNonRoot"),
    seccomp: readProfile(fields.object("seccompProfile"), (ref) => `${seccompDirectory}/${ref}`),
    apparmor: readProfile(fields.object("appArmorProfile"), (ref) => ref),
    selinux: readSelinux(fields.object("seLinuxOptions")),
  };
  if (shared.runAsNonRoot === true && shared.runAsUser === 0) {
    fields.reject("runAsUser", "is 0: must not be combined with runAsNonRoot");
  }
  return shared;
}

function readSelinux(fields: Fields | undefined): SelinuxOptions | undefined {
  if (fields === undefined) return undefined;
  const [user = "", role = "", type = "", level = ""] = ["user", "role", "type", "level"].map(
    (name) => fields.string(name),
  );
  fields.rejectUnread();
  return { user, role, type, level };
}

function readProfile(
  fields: Fields | undefined,
  pathOf: (ref: string) => string,
): Profile | undefined {
  if (fields === undefined) return undefined;
  fields.require("type");
  const type = fields.choice("type", ["RuntimeDefault", "Unconfined", "Localhost"]);
  const ref = fields.string("localhostProfile");
  if (type === "Localhost" && ref === undefined) fields.require("localhostProfile");
  if (type !== "Localhost" && ref !== undefined) {
    fields.reject("localhostProfile", "must only be set with type Localhost");
  }
  fields.rejectUnread();
  return {
    profileType: SecurityProfile_ProfileType[type ?? "RuntimeDefault"],
    localhostRef: ref === undefined ? "" : pathOf(ref),
  };
}

function readSysctls(fields: Fields): Record<string, string> {
  const sysctls: Record<string, string> = {};
  for (const entry of fields.objects("sysctls")) {
    entry.require("name");
    entry.require("value");
    const name = entry.string("name", /^[\w./-]+$/, "a sysctl, such as net.core.somaxconn") ?? "";
    if (Object.hasOwn(sysctls, name)) entry.reject("name", `duplicate sysctl "${name}"`);
    sysctls[name] = entry.string("value") ?? "";
    entry.rejectUnread();
  }
  return sysctls;
}
