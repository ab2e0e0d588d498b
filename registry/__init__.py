"""The positive-key registry. The life of a key, a line a step, and where each is done:

1. authorize  an official states a positive result and an agreement, hands over a code   lifecycle/authorize
2. certify    the phone turns the code into a certificate that names exactly its keys    lifecycle/certify
3. collect    the phone uploads keys and certificate; durable before the answer leaves   lifecycle/collect
4. publish    every window, keys past their embargo leave as a signed file               lifecycle/publish
5. poll       every phone fetches the same files and verifies them                       client/poll
6. match      each phone compares with what it has seen, and its card changes            client/match
7. recall     two officials, or the person, take an upload back; files and cards follow  lifecycle/recall
8. retire     21 days after a key's validity, key and file are gone                      lifecycle/retire

What both ends agree on stands in `protocol`; who holds a signing key, in `signing`; who is looking, in
`faces`. `app` puts it together.
"""
