"""A server to test language models against: real HTTP on loopback, scripted or tiny models, and faults on demand.

with LoopbackServer(Served(chat=ScriptedChat("answers.jsonl")), Faults(share=0.3)) as server:
    lm = ServedChat(Endpoint(server.base_url, "any"), ChatWire(), Budget(folder / "answers.sqlite"))
    ...
    assert server.most_at_once <= 8
"""
