"""What Tencent's platforms have in common: sealed callbacks, XML, and an API behind an access token."""
