import { randomInt } from "node:crypto";

// The letters of Kubernetes' generated names: no vowels, so no words, and nothing that looks alike.
const letters = "bcdfghjklmnpqrstvwxz2456789";
const suffixLength = 4;
// So that a name with its suffix is a DNS label.
const maxBase = 40;

/** A DNS label from the name of an image: "nginx" of docker.io/library/nginx:1.27. */
export function baseName(image: string): string {
  const name = image.replace(/@.*$/, "").replace(/:[^/]*$/, "");
  const last = name.slice(name.lastIndexOf("/") + 1).toLowerCase();
  const label = last
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, maxBase)
    .replace(/^-+|-+$/g, "");
  return label === "" ? "container" : label;
}

/** A name from that of the image with a random suffix that is not taken. */
export function freeName(
  image: string,
  isTaken: (name: string) => boolean,
  random: (below: number) => number = randomInt,
): string {
  for (;;) {
    const suffix = Array.from({ length: suffixLength }, () => letters[random(letters.length)]);
    const name = `${baseName(image)}-${suffix.join("")}`;
    if (!isTaken(name)) return name;
  }
}
