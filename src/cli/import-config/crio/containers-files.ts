import type { Draft } from "../draft.ts";
import type { NodeFiles } from "../node-files.ts";
import { readToml, Settings } from "../settings.ts";
import { bytesOf } from "../values.ts";

const policies = "/etc/crio/policies";
const keys = "/etc/crio/keys";

/** What CRI-O reads besides its own files: those of containers/image and containers/storage. */
export function importContainersFiles(settings: Settings, files: NodeFiles, draft: Draft): void {
  if (files.exists("/etc/containers/registries.conf")) {
    draft.hints.push(
      "davit reads /etc/containers/registries.conf and registries.conf.d as they are, as long as images.registry_config_path has nothing.",
    );
  }
  if (files.exists("/etc/containers/policy.json")) {
    draft.hints.push("davit reads /etc/containers/policy.json and registries.d as they are.");
  }
  const byDefault = "CRI-O reads it by default";
  const policyDirectory = settings.get("crio", "image", "signature_policy_dir");
  if (policyDirectory === undefined && files.list(policies).length > 0) {
    const origin = { file: policies, key: byDefault };
    draft.set(["images", "verification", "policy_json_directory"], policies, origin);
  }
  const keyDirectory = settings.get("crio", "runtime", "decryption_keys_path");
  if (keyDirectory === undefined && files.list(keys).length > 0) {
    const origin = { file: keys, key: byDefault };
    draft.set(["images", "decryption_keys_path"], keys, origin);
  }
  importStorage(files, draft);
}

function importStorage(files: NodeFiles, draft: Draft): void {
  const file = "/etc/containers/storage.conf";
  if (!files.exists(file)) return;
  const storage = new Settings();
  for (const given of readToml(files, file).given) storage.set(given);
  const size =
    storage.get("storage", "options", "overlay", "size") ??
    storage.get("storage", "options", "size");
  const bytes = size === undefined ? undefined : bytesOf(size.value);
  if (size !== undefined && bytes !== undefined) {
    draft.set(["runtime", "writable_layer_limit"], bytes, size.origin);
  }
  const stores = storage.get("storage", "options", "additionalimagestores");
  if (stores !== undefined && Array.isArray(stores.value) && stores.value.length > 0) {
    draft.note(stores, "davit has one store: load archives with images.preload_dir, or davit load");
  }
}
