/** Which names are no part of the replicated tree. Ignored is never deleted. */
import {
  DEPOSITS_DIRECTORY,
  latin1FromBytes,
  PRIVATE_DIRECTORY,
  type TreePath,
} from './tree-path.ts';

/** Always ignored. A leading slash ties a pattern to the top of the store. */
export const BUILT_IN_IGNORES = [
  `/${PRIVATE_DIRECTORY}`,
  `/${DEPOSITS_DIRECTORY}`,
  '/lost+found',
  '/.snapshot',
  '.nfs*',
] as const;

export interface IgnoreRules {
  /** True when the path, seen alone, is ignored; a caller that walks down need not look at parents. */
  matches(path: TreePath): boolean;
  /** True when the path or a directory above it is ignored. */
  covers(path: TreePath): boolean;
  /** The rules as both sites compare them: equal text means equal rules. */
  readonly canonical: string;
}

const SPECIAL = /[.+^${}()|[\]\\]/g;

/** `*` and `?` stay within one name, `**` crosses names. Patterns come from the operator only. */
function compile(pattern: string): { readonly anchored: boolean; readonly expression: RegExp } {
  const body = pattern.startsWith('/') ? pattern.slice(1) : pattern;
  const anchored = pattern.startsWith('/') || body.includes('/');
  const source = body
    .split(/(\*\*\/|\*\*|\*|\?)/)
    .map((part) => {
      if (part === '**/') return '(?:.*/)?';
      if (part === '**') return '.*';
      if (part === '*') return '[^/]*';
      if (part === '?') return '[^/]';
      return part.replaceAll(SPECIAL, '\\$&');
    })
    .join('');
  return { anchored, expression: new RegExp(`^${source}$`, 's') };
}

/** Patterns as people write them (UTF-8), added to the built-in ones; a trailing slash is dropped. */
export function createIgnoreRules(patterns: readonly string[]): IgnoreRules {
  const encoder = new TextEncoder();
  const own = patterns.map((pattern) => pattern.trim().replace(/\/+$/, '')).filter((p) => p !== '');
  const all = [...new Set([...BUILT_IN_IGNORES, ...own])].sort();
  const rules = all.map((pattern) => compile(latin1FromBytes(encoder.encode(pattern))));
  const matches = (path: TreePath) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    return rules.some((rule) => rule.expression.test(rule.anchored ? path : name));
  };
  const covers = (path: TreePath) => {
    for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) {
      if (matches(path.slice(0, end) as TreePath)) return true;
    }
    return matches(path);
  };
  return { matches, covers, canonical: all.join('\n') };
}
