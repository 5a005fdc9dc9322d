/** The versions of the CNI specification that this runtime speaks, oldest first. */
export const supportedVersions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** A version of the CNI specification that this runtime speaks. */
export type CniVersion = (typeof supportedVersions)[number];

/** True when `version` is `other` or newer. */
export function isAtLeast(version: CniVersion, other: CniVersion): boolean {
  return supportedVersions.indexOf(version) >= supportedVersions.indexOf(other);
}

/**
 * The newest version that both the configuration and this runtime know; undefined when there is
 * none. A configuration may list several (`cniVersions`, specification 1.1.0 section 1).
 */
export function chooseVersion(offered: readonly string[]): CniVersion | undefined {
  return supportedVersions.findLast((version) => offered.includes(version));
}
