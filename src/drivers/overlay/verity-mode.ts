import { RuntimeError } from "../../base/errors.ts";

/** Whether images of layers have fs-verity: where the machine can, always or never. */
export type VerityMode = "auto" | "require" | "off";

/** What a layer that cannot be protected is refused with, where that is required. */
export function unsealed(why: string): RuntimeError {
  return new RuntimeError(
    "failed-precondition",
    `images.layer_verity = "require" cannot be fulfilled: ${why}; fix that, or set it to "auto"`,
  );
}
