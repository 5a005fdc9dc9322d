/**
 * The kernel's routing tables (rtnetlink(7)): links, addresses and routes of a network namespace. Requests are values;
 * exchange() sends several in one job. And rules of nftables, which are deleted by their handles.
 */
export {
  addAddress,
  addressesOf,
  addRoute,
  deleteAddress,
  deleteRoute,
  type LinkAddress,
  listAddresses,
  parseAddresses,
  type Prefix,
} from "./addresses.ts";
export { exchange, type NamespacePath } from "./exchange.ts";
export {
  createBridge,
  createVeth,
  deleteLink,
  findLink,
  getLink,
  type Link,
  linkOf,
  setHairpin,
  setLink,
} from "./links.ts";
export type { Message, Request } from "./message.ts";
export type { NetworkSysctl } from "./native.ts";
export { deleteFromNft, listNftRules, type NftRule, type NftTable } from "./nftables.ts";
export { removeLink } from "./remove-link.ts";
export { interfaceTo } from "./route-lookup.ts";
export {
  addIngress,
  createIfb,
  limitSending,
  redirectReceived,
  type Shaper,
} from "./traffic-control.ts";
