/** What `format` means for strings, as patterns that match all of the string. */
import { parseRegex, type Regex } from '../regex-tree.js';

const day =
  '(?:\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))' +
  '|(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)';
const offset = '(?:[Zz]|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)';
// A leap second is known where it is: at the end of a day in UTC.
const time = `(?:(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d+)?${offset}|23:59:60(?:\\.\\d+)?(?:[Zz]|[+-]00:00))`;
const label = (length: number) => `[A-Za-z0-9](?:[A-Za-z0-9-]{0,${length - 2}}[A-Za-z0-9])?`;
const domain = (length: number, most: number) =>
  `${label(length)}(?:\\.${label(length)}){0,${most - 1}}`;
// At most 253 characters; all of that as an automaton would be large, so: few long labels, or more short ones.
const hostname = `(?:(?:${label(63)}\\.){0,3}${label(61)}|${domain(24, 10)})`;
const octet = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const ipv4 = `${octet}(?:\\.${octet}){3}`;
const group = '[0-9A-Fa-f]{1,4}';
const lastGroups = `(?:${group}:${group}|${ipv4})`;
const ipv6 = [
  `(?:${group}:){6}${lastGroups}`,
  `::(?:${group}:){5}${lastGroups}`,
  `(?:${group})?::(?:${group}:){4}${lastGroups}`,
  `(?:(?:${group}:){0,1}${group})?::(?:${group}:){3}${lastGroups}`,
  `(?:(?:${group}:){0,2}${group})?::(?:${group}:){2}${lastGroups}`,
  `(?:(?:${group}:){0,3}${group})?::${group}:${lastGroups}`,
  `(?:(?:${group}:){0,4}${group})?::${lastGroups}`,
  `(?:(?:${group}:){0,5}${group})?::${group}`,
  `(?:(?:${group}:){0,6}${group})?::`,
].join('|');
const atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const hex = '[0-9A-Fa-f]';
// RFC 3986, with something behind the scheme.
const plain = "[A-Za-z0-9._~!$&'()*+,;=-]";
const encoded = `%${hex}{2}`;
const segment = `(?:${plain}|${encoded}|[:@])`;
const host = `(?:\\[(?:${ipv6}|[vV]${hex}+\\.(?:${plain}|:)+)\\]|(?:${plain}|${encoded})*)`;
const authority = `(?:(?:${plain}|${encoded}|:)*@)?${host}(?::\\d*)?`;
const path = `(?://${authority}(?:/${segment}*)*|/(?:${segment}+(?:/${segment}*)*)?|${segment}+(?:/${segment}*)*)`;
const uri = `[A-Za-z][A-Za-z0-9+.-]*:${path}(?:\\?(?:${segment}|[/?])*)?(?:#(?:${segment}|[/?])*)?`;
const durationTime = 'T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)';
const durationDate = '(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)';

const patterns: Record<string, string> = {
  date: day,
  time,
  'date-time': `${day}[Tt]${time}`,
  duration: `P(?:${durationDate}(?:${durationTime})?|${durationTime}|\\d+W)`,
  email: `${atom}(?:\\.${atom})*@(?:(?:${label(63)}\\.){1,3}${label(61)}|(?:${label(24)}\\.){1,9}${label(24)})`,
  hostname,
  ipv4,
  ipv6,
  uri,
  uuid: `${hex}{8}-${hex}{4}-${hex}{4}-${hex}{4}-${hex}{12}`,
};

const trees = new Map<string, Regex>();

export const formatNames = Object.keys(patterns);

/** Null for a format that is none of {@link formatNames}. */
export function formatTree(name: string): Regex | null {
  if (!Object.hasOwn(patterns, name)) return null;
  let tree = trees.get(name);
  if (!tree) {
    tree = parseRegex(patterns[name]!);
    trees.set(name, tree);
  }
  return tree;
}

/** OpenAPI's formats of integers, as ranges; null: it says nothing that a number could break. */
export const numberFormats: Readonly<Record<string, readonly [bigint, bigint] | null>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  float: null,
  double: null,
};
