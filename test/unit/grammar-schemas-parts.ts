/** Arrays, objects, and schemas made of others. */
import { cases } from './grammar-schema-cases.js';

export const arrayCases = cases(`
items: {"type":"array","items":{"type":"integer"}}
  + [[],[1],[1,2,3]]
  - [["a"],[1,"a"]]
counts: {"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3}
  + [[true,false],[true,true,true]]
  - [[],[true],[true,true,true,true]]
maxItems 0: {"type":"array","maxItems":0}
  + [[]]
  - [[1]]
minItems without items: {"type":"array","minItems":1}
  + [[1],["a",null]]
  - [[]]
prefixItems: {"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":{"type":"null"}}
  + [[],["a"],["a",1],["a",1,null,null]]
  - [[1],["a","b"],["a",1,2]]
a tuple: {"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false,"minItems":2}
  + [["a",1]]
  - [[],["a"],["a",1,null]]
prefix and counts: {"type":"array","prefixItems":[{"const":1}],"items":{"const":2},"minItems":2,"maxItems":3}
  + [[1,2],[1,2,2]]
  - [[1],[1,2,2,2],[2,2]]
contains: {"type":"array","items":{"type":"integer"},"contains":{"minimum":5}}
  + [[5],[1,6,2],[1,9]]
  - [[],[1,2]]
minContains and maxContains: {"type":"array","items":{"type":"integer","minimum":0,"maximum":9},"contains":{"minimum":5},"minContains":1,"maxContains":2}
  + [[5],[1,6,2,7],[5,5]]
  - [[],[1],[5,6,7]]
contains and counts: {"type":"array","items":{"enum":["a","b"]},"contains":{"const":"a"},"minItems":2,"maxItems":3}
  + [["a","b"],["b","b","a"],["a","a"]]
  - [["a"],["b","b"],["b","b","b","a"]]
minContains 0: {"type":"array","contains":{"type":"string"},"minContains":0}
  + [[],[1],["a"]]
  - [1]
~ contains behind a prefix: {"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"integer"},"contains":{"const":3}}
  + [["a",3],["a",1,3]]
  - [["a"],[],[3],["a",1]]
uniqueItems: {"type":"array","items":{"enum":["a","b","c"]},"uniqueItems":true}
  + [[],["a"],["b","a"],["c","a","b"]]
  - [["a","a"],["a","b","a"]]
uniqueItems with counts: {"type":"array","items":{"type":"integer","minimum":1,"maximum":6},"uniqueItems":true,"minItems":2,"maxItems":2}
  + [[1,6],[3,2]]
  - [[1],[1,1],[1,2,3]]
uniqueItems of a tuple: {"type":"array","prefixItems":[{"type":"boolean"},{"type":"boolean"}],"items":false,"uniqueItems":true}
  + [[],[true],[true,false]]
  - [[true,true]]
uniqueItems of one: {"type":"array","maxItems":1,"uniqueItems":true}
  + [[],[{}]]
  - [[1,2]]
uniqueItems and contains: {"type":"array","items":{"enum":[1,2,3]},"uniqueItems":true,"contains":{"const":2}}
  + [[2],[1,2]]
  - [[],[1,3],[2,2]]
~ draft 7: {"type":"array","items":[{"type":"string"}],"additionalItems":{"type":"null"}}
  + [[],["a"],["a",null]]
  - [[1],["a",1]]
`);

export const objectCases = cases(String.raw`
properties: {"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"additionalProperties":false}
  + [{},{"a":1},{"b":"x"},{"a":1,"b":"x"}]
  - [{"a":"x"},{"c":1},{"a":1,"b":"x","c":1}]
required: {"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"c":{"type":"null"},"d":{"type":"null"}},"additionalProperties":false,"required":["b","d"]}
  + [{"b":"x","d":null},{"a":1,"b":"x","d":null},{"a":1,"b":"","c":null,"d":null}]
  - [{},{"b":"x"},{"a":1,"d":null}]
additional properties: {"type":"object","properties":{"abc":{"type":"integer"},"abd":{"type":"integer"}},"additionalProperties":{"type":"boolean"}}
  + [{},{"abc":1,"x":true},{"ab":true,"abcd":false,"":true},{"a\"":true}]
  - [{"abc":true},{"x":1},{"abd":1,"y":"z"}]
open object: {"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}
  + [{"a":1},{"a":1,"b":[{}]}]
  - [{},{"b":1},{"a":"x"}]
required without a schema: {"type":"object","required":["x","y"]}
  + [{"x":1,"y":2},{"x":1,"y":2,"z":3}]
  - [{},{"x":1}]
no properties: {"type":"object","properties":{},"additionalProperties":false}
  + [{}]
  - [{"a":1}]
patternProperties: {"type":"object","patternProperties":{"^n_":{"type":"integer"},"_s$":{"type":"string"}},"additionalProperties":false}
  + [{},{"n_a":1},{"a_s":"x"},{"n_1":1,"b_s":""}]
  - [{"n_a":"x"},{"a_s":1},{"c":1},{"n_s":1},{"n_s":"x"}]
patternProperties and properties: {"type":"object","properties":{"n_x":{"minimum":5}},"patternProperties":{"^n_":{"type":"integer"}},"additionalProperties":{"type":"null"}}
  + [{"n_x":5,"n_y":1,"z":null}]
  - [{"n_x":4},{"n_x":5.5},{"z":1}]
propertyNames: {"type":"object","propertyNames":{"pattern":"^[a-z]+$"},"additionalProperties":{"type":"integer"}}
  + [{},{"a":1,"bc":2}]
  - [{"A":1},{"":1},{"a":"x"}]
propertyNames of an enum: {"type":"object","propertyNames":{"enum":["a","b"]},"minProperties":2}
  + [{"a":1,"b":null}]
  - [{"a":1},{"c":1,"a":1}]
propertyNames and properties: {"type":"object","properties":{"a":{"type":"integer"},"B":{"type":"integer"}},"propertyNames":{"maxLength":2,"pattern":"^[a-z]"}}
  + [{"a":1,"bc":2}]
  - [{"B":1},{"abc":1}]
minProperties 1: {"type":"object","minProperties":1,"additionalProperties":{"type":"integer"}}
  + [{"a":1},{"a":1,"b":2}]
  - [{}]
maxProperties: {"type":"object","maxProperties":2,"additionalProperties":{"type":"integer"}}
  + [{},{"a":1},{"a":1,"b":2}]
  - [{"a":1,"b":2,"c":3}]
counted properties: {"type":"object","properties":{"a":{},"b":{},"c":{},"d":{}},"additionalProperties":false,"minProperties":2,"maxProperties":3,"required":["b"]}
  + [{"a":1,"b":1},{"b":1,"d":1},{"a":1,"b":1,"c":1}]
  - [{"b":1},{"a":1,"c":1},{"a":1,"b":1,"c":1,"d":1}]
counted, with others: {"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"minProperties":2,"maxProperties":3}
  + [{"a":1,"b":2},{"a":1,"b":2,"c":3}]
  - [{"a":1},{"a":1,"b":2,"c":3,"d":4}]
dependentRequired: {"type":"object","properties":{"a":{},"b":{},"c":{}},"additionalProperties":false,"dependentRequired":{"a":["b"],"b":["c"]}}
  + [{},{"c":1},{"b":1,"c":1},{"a":1,"b":1,"c":1}]
  - [{"a":1},{"b":1},{"a":1,"b":1},{"a":1,"c":1}]
dependentSchemas: {"type":"object","properties":{"a":{},"b":{"type":"integer"}},"additionalProperties":false,"dependentSchemas":{"a":{"required":["b"],"properties":{"b":{"minimum":5}}}}}
  + [{},{"b":1},{"a":1,"b":5}]
  - [{"a":1},{"a":1,"b":4}]
false property: {"type":"object","properties":{"a":false,"b":{"type":"null"}}}
  + [{},{"b":null},{"c":1}]
  - [{"a":1}]
awkward names: {"type":"object","properties":{"a\"b\\":{"type":"null"},"é\n":{"type":"null"},"":{"type":"null"},"__proto__x":{"type":"null"}},"additionalProperties":false}
  + [{"a\"b\\":null,"é\n":null,"":null}]
  - [{"a":null}]
~ unevaluatedProperties: {"type":"object","properties":{"a":{"type":"null"}},"unevaluatedProperties":false}
  + [{"a":null},{}]
  - [{"b":1}]
`);

export const combinedCases = cases(`
anyOf: {"anyOf":[{"type":"integer","minimum":5},{"type":"string"},{"type":"integer","maximum":0}]}
  + [5,"a",0]
  - [3,null]
anyOf beside type: {"type":"string","anyOf":[{"minLength":3},{"pattern":"^a"}]}
  + ["abc","a","xyz"]
  - ["b",1]
oneOf, disjoint: {"oneOf":[{"type":"object","properties":{"kind":{"const":"circle"},"r":{"type":"integer"}},"additionalProperties":false,"required":["kind"]},{"type":"object","properties":{"kind":{"const":"square"},"s":{"type":"integer"}},"additionalProperties":false,"required":["kind"]}]}
  + [{"kind":"circle","r":1},{"kind":"square","s":2},{"kind":"square"}]
  - [{"kind":"circle","s":1},{"kind":"x"},{}]
oneOf, overlapping numbers: {"oneOf":[{"type":"integer","multipleOf":3},{"type":"integer","multipleOf":5}]}
  + [3,5,9,10]
  - [15,1,30,0]
oneOf, overlapping objects: {"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"additionalProperties":false,"oneOf":[{"required":["a"]},{"required":["b"]}]}
  + [{"a":1},{"b":1}]
  - [{},{"a":1,"b":1}]
oneOf of types: {"oneOf":[{"type":"string"},{"type":"integer"},{"type":"null"}]}
  + ["a",1,null]
  - [1.5,[]]
allOf: {"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"string"},"a":{"minimum":3}}}]}
  + [{"a":3},{"a":3,"b":"x"}]
  - [{"a":2},{"b":"x"},{"a":3,"b":1}]
allOf with closed object: {"allOf":[{"type":"object","properties":{"a":{},"b":{}},"additionalProperties":false},{"required":["a"],"properties":{"a":{"type":"integer"}}}]}
  + [{"a":1},{"a":1,"b":2}]
  - [{"b":1},{"a":1,"c":1}]
allOf of anyOf: {"allOf":[{"anyOf":[{"type":"string"},{"type":"integer"}]},{"anyOf":[{"type":"integer"},{"type":"null"}]}]}
  + [1]
  - ["a",null]
allOf of arrays: {"allOf":[{"type":"array","items":{"type":"integer"},"minItems":1},{"maxItems":2,"prefixItems":[{"minimum":5}]}]}
  + [[5],[5,1]]
  - [[],[4],[5,1,1],["a"]]
not enum: {"type":"string","enum":["a","b","c"],"not":{"enum":["b"]}}
  + ["a","c"]
  - ["b"]
not const: {"type":"string","not":{"const":"no"}}
  + ["","n","nop","yes"]
  - ["no"]
not type: {"not":{"type":["string","object"]}}
  + [1,null,[],true]
  - ["a",{}]
not const number: {"type":"integer","not":{"enum":[0,5]}}
  + [1,4,6,-5,55]
  - [0,5]
not required: {"type":"object","properties":{"a":{},"b":{}},"not":{"required":["a","b"]}}
  + [{},{"a":1},{"b":1}]
  - [{"a":1,"b":1}]
not items: {"type":"array","items":{"enum":[1,2]},"not":{"items":{"const":1}}}
  + [[2],[1,2]]
  - [[],[1,1]]
if, then, else: {"type":"object","properties":{"kind":{"enum":["a","b"]},"x":{"type":"integer"},"y":{"type":"integer"}},"additionalProperties":false,"required":["kind"],"if":{"properties":{"kind":{"const":"a"}}},"then":{"required":["x"]},"else":{"required":["y"]}}
  + [{"kind":"a","x":1},{"kind":"b","y":1},{"kind":"a","x":1,"y":1}]
  - [{"kind":"a"},{"kind":"b","x":1},{"kind":"a","y":1}]
if without else: {"type":"object","properties":{"k":{"type":"string"},"x":{"type":"integer"}},"additionalProperties":false,"if":{"properties":{"k":{"enum":["a","b"]}},"required":["k"]},"then":{"required":["x"]}}
  + [{},{"x":1},{"k":"c"},{"k":"a","x":1},{"k":"ab"}]
  - [{"k":"a"},{"k":"b"}]
several ifs: {"type":"object","properties":{"k":{"enum":["a","b","c"]},"v":{}},"additionalProperties":false,"required":["k","v"],"allOf":[{"if":{"properties":{"k":{"const":"a"}}},"then":{"properties":{"v":{"type":"string"}}}},{"if":{"properties":{"k":{"const":"b"}}},"then":{"properties":{"v":{"type":"integer"}}}}]}
  + [{"k":"a","v":"x"},{"k":"b","v":1},{"k":"c","v":null}]
  - [{"k":"a","v":1},{"k":"b","v":"x"}]
$ref: {"$defs":{"name":{"type":"string","minLength":1}},"type":"object","properties":{"a":{"$ref":"#/$defs/name"},"b":{"$ref":"#/$defs/name","maxLength":2}},"additionalProperties":false}
  + [{"a":"xyz"},{"b":"xy"}]
  - [{"a":""},{"b":"xyz"}]
definitions: {"definitions":{"a/b~c":{"type":"integer"}},"type":"array","items":{"$ref":"#/definitions/a~1b~0c"}}
  + [[1]]
  - [["a"]]
recursive: {"$defs":{"tree":{"type":"object","properties":{"value":{"type":"integer"},"children":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"additionalProperties":false,"required":["value"]}},"$ref":"#/$defs/tree"}
  + [{"value":1},{"value":1,"children":[{"value":2,"children":[]}]}]
  - [{},{"value":1,"children":[{}]},{"value":1,"children":[{"value":"x"}]}]
recursive root: {"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},"additionalProperties":false,"required":["next"]}
  + [{"next":null},{"next":{"next":null}}]
  - [{},{"next":1},{"next":{"next":{}}}]
recursive oneOf: {"$defs":{"node":{"oneOf":[{"type":"object","properties":{"leaf":{"type":"integer"}},"additionalProperties":false,"required":["leaf"]},{"type":"object","properties":{"left":{"$ref":"#/$defs/node"},"right":{"$ref":"#/$defs/node"}},"additionalProperties":false,"required":["left","right"]}]}},"$ref":"#/$defs/node"}
  + [{"leaf":1},{"left":{"leaf":1},"right":{"left":{"leaf":2},"right":{"leaf":3}}}]
  - [{},{"left":{"leaf":1}},{"leaf":1,"left":{"leaf":1}}]
anchor: {"$defs":{"x":{"$anchor":"here","type":"integer"}},"type":"array","items":{"$ref":"#here"}}
  + [[1]]
  - [["a"]]
ids: {"$id":"https://example.com/root","$defs":{"x":{"$id":"item","$defs":{"y":{"type":"integer"}},"type":"array","items":{"$ref":"#/$defs/y"}}},"$ref":"item"}
  + [[1]]
  - [["a"],1]
an unsatisfiable branch: {"anyOf":[{"type":"string","minLength":3,"maxLength":2},{"type":"null"}]}
  + [null]
  - ["ab","abc"]
draft 7 dependencies: {"type":"object","properties":{"a":{},"b":{}},"additionalProperties":false,"dependencies":{"a":["b"]}}
  + [{"b":1},{"a":1,"b":1}]
  - [{"a":1}]
`);
