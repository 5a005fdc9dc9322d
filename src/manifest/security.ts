import { SecurityProfile_ProfileType, SupplementalGroupsPolicy } from "../gen/runtime/v1/api_pb.ts";
import type { Fields, Reasons } from "./fields.ts";

/** A seccomp or AppArmor profile, as the CRI has it. */
export interface Profile {
  readonly profileType: SecurityProfile_ProfileType;
  readonly localhostRef: string;
}

/** SELinux options, as the CRI has them. */
export interface SelinuxOptions {
  readonly user: string;
  readonly role: string;
  readonly type: string;
  readonly level: string;
}

/** What the security contexts of a pod and of a container have in common. */
interface SharedContext {
  readonly runAsUser: number | undefined;
  readonly runAsGroup: number | undefined;
  readonly runAsNonRoot: boolean | undefined;
  readonly seccomp: Profile | undefined;
  readonly apparmor: Profile | undefined;
  readonly selinux: SelinuxOptions | undefined;
}

/** A pod's securityContext. */
export interface PodSecurity extends SharedContext {
  readonly fsGroup: number | undefined;
  readonly supplementalGroups: readonly number[];
  readonly supplementalGroupsPolicy: SupplementalGroupsPolicy;
  readonly sysctls: Readonly<Record<string, string>>;
}

/** A container's securityContext. */
export interface ContainerSecurity extends SharedContext {
  readonly privileged: boolean;
  readonly allowPrivilegeEscalation: boolean | undefined;
  readonly readOnlyRootFilesystem: boolean;
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly unmaskedProc: boolean;
}

// Ids are signed 32-bit numbers for Kubernetes.
const maxId = 2 ** 31 - 1;

// Where kubelet looks for seccomp profiles of the node.
const seccompDirectory = "/var/lib/kubelet/seccomp";

const reasons: Reasons = { windowsOptions: "davit runs Linux containers" };

/** Reads spec.securityContext. */
export function readPodSecurity(fields: Fields): PodSecurity {
  const policies = ["Merge", "Strict"] as const;
  const policy = fields.choice("supplementalGroupsPolicy", policies) ?? "Merge";
  const security: PodSecurity = {
    ...readShared(fields),
    fsGroup: fields.integer("fsGroup", 0, maxId),
    supplementalGroups: fields.integers("supplementalGroups", maxId),
    supplementalGroupsPolicy: SupplementalGroupsPolicy[policy],
    sysctls: readSysctls(fields),
  };
  // An emptyDir is always new, so that both of its values say the same.
  fields.choice("fsGroupChangePolicy", ["OnRootMismatch", "Always"]);
  fields.refuseRest(reasons);
  return security;
}

/** Reads securityContext of a container. */
export function readContainerSecurity(fields: Fields): ContainerSecurity {
  const capabilities = fields.objectOrEmpty("capabilities");
  const security: ContainerSecurity = {
    ...readShared(fields),
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
      fields.refuse(
        "allowPrivilegeEscalation",
        "is false: that cannot be with privileged or SYS_ADMIN",
      );
    }
  }
  capabilities.refuseRest();
  fields.refuseRest(reasons);
  return security;
}

function readShared(fields: Fields): SharedContext {
  const shared: SharedContext = {
    runAsUser: fields.integer("runAsUser", 0, maxId),
    runAsGroup: fields.integer("runAsGroup", 0, maxId),
    runAsNonRoot: fields.boolean("runAsNonRoot"),
    seccomp: readProfile(fields.object("seccompProfile"), (ref) => `${seccompDirectory}/${ref}`),
    apparmor: readProfile(fields.object("appArmorProfile"), (ref) => ref),
    selinux: readSelinux(fields.object("seLinuxOptions")),
  };
  if (shared.runAsNonRoot === true && shared.runAsUser === 0) {
    fields.refuse("runAsUser", "is 0: that cannot be with runAsNonRoot");
  }
  return shared;
}

function readSelinux(fields: Fields | undefined): SelinuxOptions | undefined {
  if (fields === undefined) return undefined;
  const [user = "", role = "", type = "", level = ""] = ["user", "role", "type", "level"].map(
    (name) => fields.string(name),
  );
  fields.refuseRest();
  return { user, role, type, level };
}

function readProfile(
  fields: Fields | undefined,
  place: (ref: string) => string,
): Profile | undefined {
  if (fields === undefined) return undefined;
  fields.require("type");
  const type = fields.choice("type", ["RuntimeDefault", "Unconfined", "Localhost"]);
  const ref = fields.string("localhostProfile");
  if (type === "Localhost" && ref === undefined) fields.require("localhostProfile");
  if (type !== "Localhost" && ref !== undefined) {
    fields.refuse("localhostProfile", "is only for type Localhost");
  }
  fields.refuseRest();
  return {
    profileType: SecurityProfile_ProfileType[type ?? "RuntimeDefault"],
    localhostRef: ref === undefined ? "" : place(ref),
  };
}

function readSysctls(fields: Fields): Record<string, string> {
  const sysctls: Record<string, string> = {};
  for (const entry of fields.objects("sysctls")) {
    entry.require("name");
    entry.require("value");
    const name = entry.string("name", /^[\w./-]+$/, "a sysctl's name, as net.core.somaxconn") ?? "";
    if (Object.hasOwn(sysctls, name)) entry.refuse("name", `is "${name}": it is there twice`);
    sysctls[name] = entry.string("value") ?? "";
    entry.refuseRest();
  }
  return sysctls;
}
