"""Tool calls: a tool is made of a verb and a noun, so that held-out tools are new names for known needs."""

import json

from words import any_city, any_name, any_word, held_out, pick

VERBS = ['get', 'fetch', 'find', 'lookup', 'check', 'read', 'query', 'show', 'current', 'my', 'tell', 'ask']
ACTIONS = ['set', 'start', 'create', 'make', 'add', 'new', 'begin', 'run', 'do', 'put', 'open', 'my']
SENDS = ['send', 'write', 'post', 'new', 'make', 'create', 'deliver', 'submit', 'push', 'my', 'quick', 'do']
MIDDLES = ['current', 'new', 'all', 'local', 'the', 'latest', 'daily', 'user', 'quick', 'full', 'by', 'from', 'for']
CONDITIONS = ['sunny', 'cloudy', 'rainy', 'windy', 'snowy', 'foggy', 'clear']
TOPICS = """blue whales black holes green tea old castles red pandas fast trains wild horses tall trees space
travel ancient Rome electric cars deep sea fish good books jazz music chess rules solar power bread
recipes mountain bikes paper planes""".split()
TEXTS = """hello there see you soon call me back dinner is ready happy birthday good luck I am late the train is
here meet me at noon thank you for the book""".split()


def words_of(r, pool, low, high):
    return ' '.join(r.choice(pool) if r.random() < 0.8 else any_word(r) for _ in range(r.randint(low, high)))


class Need:
    """One thing a user can want: the nouns that name its tool, its parameters, its questions, its answers.

    `params` lists (name choices, json type); `ask(r)` draws the values; `questions` and `answer` are
    formatted with those values and with what the tool returned.
    """

    def __init__(self, verbs, nouns, about, params, ask, questions, result, answer):
        self.verbs, self.nouns, self.about, self.params = verbs, nouns, about, params
        self.ask, self.questions, self.result, self.answer = ask, questions, result, answer


NEEDS = [
    Need(VERBS, ['weather', 'forecast', 'temperature'], 'Get the current weather in a city',
         [(['city', 'location', 'place'], 'string')], lambda r: [any_city(r)],
         ['What is the weather in {0}?', "What's the weather like in {0}?", 'How is the weather in {0}?',
          'Is it raining in {0}?', 'How warm is it in {0}?', 'Weather in {0}?', 'Tell me the weather in {0}.'],
         lambda r, v: {'temperature': r.randint(-9, 39), 'condition': r.choice(CONDITIONS)},
         'It is {condition} in {0}, {temperature} degrees.'),
    Need(VERBS, ['time', 'clock', 'hour'], 'Get the local time in a city',
         [(['city', 'location', 'place'], 'string')], lambda r: [any_city(r)],
         ['What time is it in {0}?', "What's the time in {0}?", 'Tell me the time in {0}.', 'Time in {0}?',
          'How late is it in {0}?', 'Which time is it in {0}?'],
         lambda r, v: {'time': f'{r.randint(0, 23):02d}:{r.randint(0, 59):02d}'}, 'It is {time} in {0}.'),
    Need(VERBS, ['price', 'cost', 'prices'], 'Get the price of an item',
         [(['item', 'product', 'name'], 'string')], lambda r: [any_word(r)],
         ['What is the price of {0}?', 'How much does {0} cost?', 'What does {0} cost?', 'Price of {0}?',
          'How expensive is {0}?', 'Tell me the price of {0}.'],
         lambda r, v: {'price': r.randint(1, 999)}, 'The price of {0} is {price}.'),
    Need(SENDS, ['message', 'email', 'mail'], 'Send a message to a person',
         [(['to', 'recipient', 'name'], 'string'), (['text', 'body', 'message'], 'string')],
         lambda r: [any_name(r), words_of(r, TEXTS, 1, 4)],
         ["Send {0} the message '{1}'.", "Tell {0} '{1}'.", "Write to {0}: '{1}'.", "Message {0}: '{1}'.",
          "Send a message to {0} that says '{1}'.", "Send '{1}' to {0}."],
         lambda r, v: {'status': 'sent'}, 'I sent the message to {0}.'),
    Need(ACTIONS, ['timer', 'alarm', 'countdown'], 'Set a timer',
         [(['minutes', 'duration', 'length'], 'integer')], lambda r: [r.randint(1, 120)],
         ['Set a timer for {0} minutes.', 'Start a timer of {0} minutes.', 'Wake me in {0} minutes.',
          'Timer for {0} minutes, please.', 'I need a timer for {0} minutes.', 'Remind me in {0} minutes.'],
         lambda r, v: {'status': 'ok'}, 'The timer is set for {0} minutes.'),
    Need(['web', 'search', 'find', 'query', 'do', 'run', 'internet', 'online', 'google', 'start', 'make', 'my'],
         ['search', 'lookup', 'web'], 'Search the web',
         [(['query', 'text', 'topic'], 'string')], lambda r: [words_of(r, TOPICS, 1, 3)],
         ['Search the web for {0}.', 'Search for {0}.', 'Find something about {0}.', 'Look up {0}.',
          'Search the internet for {0}.', 'What does the web say about {0}?'],
         lambda r, v: {'results': r.randint(0, 99)}, 'I found {results} results for {0}.'),
    Need(VERBS, ['user', 'person', 'contact'], 'Look up a person by name',
         [(['name', 'user', 'person'], 'string')], lambda r: [any_name(r)],
         ['How old is {0}?', 'Where does {0} live?', 'Look up the user {0}.', 'Find the person {0}.',
          'What do you know about {0}?', 'Get the contact {0}.'],
         lambda r, v: {'age': r.randint(1, 99), 'city': any_city(r)}, '{0} is {age} years old and lives in {city}.'),
    Need(['multiply', 'calculate', 'compute', 'do', 'run', 'math', 'number', 'times', 'get', 'find', 'my', 'make'],
         ['product', 'multiplication', 'numbers'], 'Multiply two numbers',
         [(['a', 'x', 'first'], 'integer'), (['b', 'y', 'second'], 'integer')],
         lambda r: [r.randint(2, 999), r.randint(2, 999)],
         ['What is {0} times {1}?', 'Multiply {0} by {1}.', 'What is {0} * {1}?', 'Multiply {0} and {1}.',
          'How much is {0} times {1}?', 'Calculate {0} times {1}.'],
         lambda r, v: {'result': v[0] * v[1]}, '{0} times {1} is {result}.'),
]  # fmt: skip


class Tool:
    def __init__(self, r, need, held):
        def name(r):
            verb, noun = r.choice(need.verbs), r.choice(need.nouns)
            parts = [verb, noun] if r.random() < 0.8 else [noun, verb]
            if r.random() < 0.35:  # get_current_weather, and now and then a word never seen
                parts.insert(r.randint(0, 2), r.choice(MIDDLES) if r.random() < 0.7 else any_word(r))
            if r.random() < 0.8:
                return '_'.join(parts)
            return parts[0] + ''.join(p.capitalize() for p in parts[1:])

        self.need = need
        self.name = pick(r, name, lambda n: n, held)
        self.keys = []
        for choices, _ in need.params:
            self.keys.append(r.choice([k for k in choices if k not in self.keys]))
        properties = {}
        for key, (_, kind) in zip(self.keys, need.params):
            properties[key] = {'type': kind}
            if r.random() < 0.15:
                properties[key]['description'] = f'The {key}'
        if r.random() < 0.15:  # an optional parameter that the question says nothing about stays out of the call
            properties[r.choice(['unit', 'language', 'format'])] = {'type': 'string', 'enum': r.sample(['short', 'long', 'metric', 'imperial'], 2)}
        parameters = {'type': 'object', 'properties': properties}
        if r.random() < 0.8:
            parameters['required'] = list(self.keys)
        if r.random() < 0.1:
            parameters['additionalProperties'] = False
        function = {'name': self.name}
        if r.random() < 0.75:
            function['description'] = need.about + ('.' if r.random() < 0.2 else '')
        function['parameters'] = parameters
        self.spec = {'type': 'function', 'function': function}

    def call(self, values):
        return {'name': self.name, 'arguments': dict(zip(self.keys, values))}


def call_text(call):
    return f'<tool_call>\n{json.dumps(call)}\n</tool_call>'


def tool_talk(r, held, other_skill):
    """Returns (tools, turns); a turn's user text may be a list of tool results (dicts), as the template shows them.

    Kinds: call the fitting tool; call it twice; call it and use the result; a question that no tool is
    for (another skill, or a need without its tool).
    """
    count = r.choice([1, 1, 1, 1, 2, 2, 3])
    needs = r.sample(NEEDS, count)
    tools = [Tool(r, need, held) for need in needs]
    specs = [tool.spec for tool in tools]
    kind = r.random()
    if kind < 0.2:
        return specs, other_skill(r, held)
    if kind < 0.3:
        need = r.choice([need for need in NEEDS if need not in needs])
        values = need.ask(r)
        return specs, [(r.choice(need.questions).format(*values), 'No tool fits.', 'I have no tool for that.')]
    tool = r.choice(tools)
    need = tool.need
    if kind < 0.38 and len(need.params) == 1 and need.params[0][1] == 'string':
        first, second = need.ask(r), need.ask(r)
        if first == second:
            second = [any_word(r).capitalize()]
        values = [f'{first[0]} and {second[0]}']
        calls, asked = [tool.call(first), tool.call(second)], [first, second]
    else:
        values = need.ask(r)
        calls, asked = [tool.call(values)], [values]
    thinking = f'I call {tool.name}.' if len(calls) == 1 else f'I call {tool.name} twice.'
    turns = [(r.choice(need.questions).format(*values), thinking, '\n'.join(call_text(c) for c in calls))]
    if kind > 0.65:
        results = [need.result(r, v) for v in asked]
        answer = ' '.join(need.answer.format(*v, **result) for v, result in zip(asked, results))
        turns.append((results, 'I have the result.', answer))
    return specs, turns


def no_tool(r, held):
    """The same questions where no tools are given at all."""
    need = r.choice(NEEDS[:7])
    question = pick(r, lambda r: r.choice(need.questions).format(*need.ask(r)), lambda q: q, held)
    return [(question, 'I have no tools.', 'I have no tool for that.')]


__all__ = ['NEEDS', 'call_text', 'held_out', 'no_tool', 'tool_talk']
