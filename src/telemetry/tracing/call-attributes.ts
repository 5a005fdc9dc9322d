import type { LogFields } from "../../base/logger.ts";
import type { AttributeValue } from "./span.ts";

/**
 * The attributes for fields of the call log, by the names of OpenTelemetry's conventions where there is one. Other
 * fields are left out: the command of an Exec may contain a password.
 */
const names: Readonly<Record<string, string>> = {
  sandbox: "davit.sandbox.id",
  handler: "davit.handler",
  containerName: "k8s.container.name",
  container: "container.id",
  image: "container.image.name",
  imageId: "container.image.id",
  bytes: "davit.image.bytes",
  exitCode: "davit.exit_code",
  graceSeconds: "davit.grace_seconds",
};

/** The attributes of a call from the fields that its log line has. */
export function callAttributes(fields: LogFields): Record<string, AttributeValue> {
  const attributes: Record<string, AttributeValue> = {};
  for (const [field, value] of Object.entries(fields)) {
    if (typeof value !== "string" && typeof value !== "number") continue;
    const name = names[field];
    if (name !== undefined) attributes[name] = value;
    if (field !== "pod" || typeof value !== "string") continue;
    const slash = value.indexOf("/");
    attributes["k8s.namespace.name"] = value.slice(0, slash);
    attributes["k8s.pod.name"] = value.slice(slash + 1);
  }
  return attributes;
}
