import { assertEquals } from "@std/assert";
import { cleanObject } from "./clean.ts";

function kept(key: string, value: string): boolean {
  return Object.hasOwn(cleanObject({ [key]: value }, { maxString: 100, links: true }).value, key);
}

Deno.test("cleanObject() takes a key for a link's where link, url or href is its last word", () => {
  const links = [
    "link",
    "Link",
    "LINK",
    "primaryLink",
    "primary_link",
    "url",
    "URL",
    "html_url",
    "html-url",
    "externalURL",
    "primaryURL",
    "HTMLUrl",
    "generatorUrl",
    "href",
    "a.href",
    "guideline",
  ];
  const others = [
    "purl",
    "PURL",
    "packagePURL",
    "curl",
    "symlink",
    "hyperlink",
    "linked",
    "urls",
    "link.target",
  ];
  for (const key of links) assertEquals([key, kept(key, "/etc/passwd")], [key, false]);
  for (const key of links) assertEquals([key, kept(key, "https://example.org")], [key, true]);
  for (const key of others) assertEquals([key, kept(key, "pkg:deb/debian/openssl@3.0.1")], [key, true]);
  for (const key of others) assertEquals([key, kept(key, "javascript:alert(1)")], [key, false]);
});
