import { quote } from "../../../base/quote.ts";
import {
  Field,
  type FieldOwners,
  type PodSandbox,
  SecurityProfile_ProfileType,
  type ValidateContainerAdjustmentRequest,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

/** What the built-in validator rejects: NRI's DefaultValidatorConfig. What is not set is not rejected. */
export interface ValidatorSettings {
  readonly rejectOciHookAdjustment?: boolean;
  /** Of a container with the runtime's default profile. */
  readonly rejectRuntimeDefaultSeccompAdjustment?: boolean;
  /** Of a container without a profile. */
  readonly rejectUnconfinedSeccompAdjustment?: boolean;
  /** Of a container with a profile of the node (Localhost). */
  readonly rejectCustomSeccompAdjustment?: boolean;
  readonly rejectNamespaceAdjustment?: boolean;
  readonly rejectSysctlAdjustment?: boolean;
  /** Names of plugins, without their index, that each container must have been shown to. */
  readonly requiredPlugins?: readonly string[];
  /** Key of an annotation with which a pod or container does without required plugins; "" for none. */
  readonly tolerateMissingPluginsAnnotation?: string;
}

/** With a list of plugins, in JSON, that a pod or container requires (NRI, pkg/plugin). */
const requiredAnnotation = "required-plugins.noderesource.dev";

// A list has a few names of plugins.
const mostRequired = 256;

type Check = (
  request: ValidateContainerAdjustmentRequest,
  settings: ValidatorSettings,
) => string | undefined;

/** The built-in validator: the reason why the adjustments of a container are rejected, or undefined. */
export function defaultValidator(
  settings: ValidatorSettings,
): (request: ValidateContainerAdjustmentRequest) => string | undefined {
  return (request) => {
    for (const check of [checkHooks, checkSeccomp, checkNamespaces, checkRequired, checkSysctl]) {
      const reason = check(request, settings);
      if (reason !== undefined) return reason;
    }
    return undefined;
  };
}

const checkHooks: Check = (request, { rejectOciHookAdjustment }) => {
  if (rejectOciHookAdjustment !== true) return undefined;
  const owners = owned(request)?.simple[Field.OciHooks];
  return owners === undefined ? undefined : `${ofPlugins(owners.split(","))} may not add OCI hooks`;
};

const checkSeccomp: Check = (request, settings) => {
  const owner = owned(request)?.simple[Field.SeccompPolicy];
  if (owner === undefined) return undefined;
  const profile = request.container?.linux?.seccompProfile;
  const type = profile?.profileType ?? SecurityProfile_ProfileType.UNCONFINED;
  const kinds = new Map<number, readonly [boolean | undefined, string]>([
    [
      SecurityProfile_ProfileType.UNCONFINED,
      [settings.rejectUnconfinedSeccompAdjustment, "without a profile"],
    ],
    [
      SecurityProfile_ProfileType.RUNTIME_DEFAULT,
      [settings.rejectRuntimeDefaultSeccompAdjustment, "with the runtime's default profile"],
    ],
    [
      SecurityProfile_ProfileType.LOCALHOST,
      [settings.rejectCustomSeccompAdjustment, "with a profile of the node"],
    ],
  ]);
  const [isRejected, what] = kinds.get(type) ?? [];
  return isRejected === true
    ? `${ofPlugins([owner])} may not change the seccomp policy of a container ${what ?? ""}`
    : undefined;
};

const checkNamespaces: Check = (request, { rejectNamespaceAdjustment }) => {
  if (rejectNamespaceAdjustment !== true) return undefined;
  const owners = owned(request)?.compound[Field.Namespace]?.owners ?? {};
  const all = Object.entries(owners);
  if (all.length === 0) return undefined;
  const types = all.map(([type]) => type).toSorted();
  return `${ofPlugins(all.map(([, plugin]) => plugin))} may not change namespaces (${types.join(", ")})`;
};

const checkSysctl: Check = (request, { rejectSysctlAdjustment }) => {
  if (rejectSysctlAdjustment !== true) return undefined;
  const adjusted = Object.keys(request.adjust?.linux?.sysctl ?? {});
  if (adjusted.length === 0) return undefined;
  const owners = owned(request)?.compound[Field.Sysctl]?.owners ?? {};
  return `${ofPlugins(Object.values(owners))} may not change sysctls (${adjusted.toSorted().map(quote).join(", ")})`;
};

const checkRequired: Check = (request, settings) => {
  const name = request.container?.name ?? "";
  const tolerance = settings.tolerateMissingPluginsAnnotation ?? "";
  const tolerated = tolerance === "" ? undefined : annotationFor(request.pod, tolerance, name);
  if (tolerated !== undefined) {
    const isTolerated = parseBool(tolerated);
    if (isTolerated === undefined) {
      return `annotation ${quote(tolerance)} must be true or false, got ${quote(tolerated)}`;
    }
    if (isTolerated) return undefined;
  }
  const annotation = annotationFor(request.pod, requiredAnnotation, name);
  const annotated = annotation === undefined ? [] : parseNames(annotation);
  if (annotated === undefined) {
    return `annotation ${quote(requiredAnnotation)} must be a JSON list of plugins, got ${quote(annotation ?? "")}`;
  }
  const present = new Set(request.plugins.map((plugin) => plugin.name));
  const required = new Set([...(settings.requiredPlugins ?? []), ...annotated]);
  const missing = [...required].filter((plugin) => !present.has(plugin));
  if (missing.length === 0) return undefined;
  return `required ${ofPlugins(missing)} ${missing.length === 1 ? "is" : "are"} not connected`;
};

/** The owners of the new container's fields. */
function owned({ owners, container }: ValidateContainerAdjustmentRequest): FieldOwners | undefined {
  return owners?.owners[container?.id ?? ""];
}

function ofPlugins(names: readonly string[]): string {
  // A plugin that removed a field marks it with "-".
  const all = [...new Set(names.map((name) => name.replace(/^-/, "")))].toSorted().map(quote);
  if (all.length === 0) return "a plugin";
  return `${all.length === 1 ? "plugin" : "plugins"} ${all.join(", ")}`;
}

/**
 * The value of a pod's annotation for one of its containers: `KEY/container.NAME` before `KEY/pod` and `KEY` (NRI,
 * GetEffectiveAnnotation).
 */
function annotationFor(
  pod: PodSandbox | undefined,
  key: string,
  container: string,
): string | undefined {
  const annotations = new Map(Object.entries(pod?.annotations ?? {}));
  return (
    annotations.get(`${key}/container.${container}`) ??
    annotations.get(`${key}/pod`) ??
    annotations.get(key)
  );
}

/** As Go's strconv.ParseBool. */
function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  return ["0", "f", "F", "false", "FALSE", "False"].includes(text) ? false : undefined;
}

/** NRI documents a JSON list; its own implementation also reads lists of YAML, and so do we the plain ones. */
function parseNames(text: string): readonly string[] | undefined {
  const flow = /^\[(.*)\]$/s.exec(text.trim())?.[1];
  const entries =
    flow === undefined
      ? text
          .trim()
          .split("\n")
          .map((line) => /^\s*-\s+(.*)$/.exec(line)?.[1])
      : flow.trim() === ""
        ? []
        : flow.split(",");
  if (entries.length > mostRequired) return undefined;
  const names = entries.map((entry) => /^\s*(["']?)([\w.-]+)\1\s*$/.exec(entry ?? "")?.[2]);
  return names.every((name) => name !== undefined) ? names : undefined;
}
