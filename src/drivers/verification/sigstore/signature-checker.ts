import type { FoundSignature } from "../../../core/image/index.ts";
import type { SignatureResult, Trust } from "../../../verify/protocol.ts";

/** What is to be checked. */
export interface SignaturesToCheck {
  /** A signature counts if it is of one of these: of the index and of the manifest. */
  readonly digests: readonly string[];
  readonly trust: Trust;
  readonly signatures: readonly FoundSignature[];
}

/** Checks signatures of cosign and sigstore in a process of its own. */
export interface SignatureChecker {
  /**
   * A result for each signature, in their order. `failed-precondition` for trust that cannot be read (with
   * the name of its file), `deadline-exceeded` and `internal` when the process fails.
   */
  check(request: SignaturesToCheck, signal: AbortSignal): Promise<readonly SignatureResult[]>;
}
