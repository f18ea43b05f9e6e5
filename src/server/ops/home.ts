/** The page at `/`: says what this is and where to go on. */
import type { Handler } from '../routing.ts';

/** `site` is a checked name, so that it needs no escaping. */
export function homePage(site: string): Handler {
  const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Twinsite ${site}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
<h1>Twinsite, site ${site}</h1>
<p>A deposit server that keeps what it is given at two sites.</p>
<p>Send a file:</p>
<pre><code>curl -u NAME:TOKEN --data-binary @paper.pdf \\
  -H 'Content-Type: application/pdf' \\
  -H 'Content-Disposition: attachment; filename=paper.pdf' \\
  -H 'Idempotency-Key: my-first-deposit' \\
  http://THIS-HOST/collections/COLLECTION/deposits</code></pre>
<p><a href="/status">Status</a> · <a href="/readyz">ready?</a> · <a href="/metrics">metrics</a> · <a href="/deposits">your deposits</a></p>
</html>
`;
  return () =>
    new Response(page, {
      headers: {
        'Content-Type': 'text/html; charset=utf-8',
        'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'",
        'X-Content-Type-Options': 'nosniff',
      },
    });
}
