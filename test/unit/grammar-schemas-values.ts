/** Types, strings, formats and numbers. */
import { cases } from './grammar-schema-cases.js';

export const typeCases = cases(String.raw`
true: true
  + [1,"a",null,{"a":[1,{"b":null}]},[]]
  - []
empty: {}
  + [1.5,"é\"\\\n",false]
  - []
string: {"type":"string"}
  + ["","a","\"\\/\b\u0001😀"]
  - [1,null,["a"]]
integer: {"type":"integer"}
  + [0,-1,12345678901234]
  - [1.5,"1",null]
number: {"type":"number"}
  + [0,-1.25,1e+21,5e-324,1e-7]
  - ["1",true]
boolean: {"type":"boolean"}
  + [true,false]
  - [0,"true",null]
null: {"type":"null"}
  + [null]
  - [0,"",false]
array: {"type":"array"}
  + [[],[1,"a",[null]]]
  - [{},"a"]
object: {"type":"object"}
  + [{},{"a":{"b":[1]}}]
  - [[],1]
types: {"type":["string","null","integer"]}
  + ["a",null,3]
  - [1.5,[]]
integer and number: {"type":["integer","number"]}
  + [1,1.5]
  - ["1"]
nullable: {"type":"string","nullable":true}
  + ["a",null]
  - [1]
enum: {"enum":["a","b\"",1,true,null,[1,2],{"x":1}]}
  + ["a","b\"",1,true,null,[1,2],{"x":1}]
  - ["c",2,false,[1],[1,2,3],{},{"x":2}]
enum with type: {"type":"string","enum":["a",1,"b"]}
  + ["a","b"]
  - [1,"c"]
const: {"const":{"a":[1,{"b":null}]}}
  + [{"a":[1,{"b":null}]}]
  - [{},{"a":[1]},{"a":[1,{"b":1}]}]
const string: {"const":"a\n\"é"}
  + ["a\n\"é"]
  - ["a","b"]
~ annotations: {"title":"t","description":"d","default":1,"examples":[1],"$comment":"c","deprecated":true,"readOnly":true,"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"https://example.com/s","x-note":1,"type":"integer"}
  + [1]
  - ["a"]
`);

export const stringCases = cases(String.raw`
minLength: {"type":"string","minLength":2}
  + ["ab","😀é","\"\""]
  - ["","a","😀"]
maxLength: {"type":"string","maxLength":2}
  + ["","ab","😀😀","\n\""]
  - ["abc"]
lengths: {"type":"string","minLength":2,"maxLength":3}
  + ["ab","abc"]
  - ["a","abcd"]
pattern, unanchored: {"type":"string","pattern":"b+"}
  + ["abc","b","\nb\""]
  - ["","ac"]
pattern, anchored: {"type":"string","pattern":"^[a-c]{2,3}$"}
  + ["ab","abc"]
  - ["a","abcd","xab","ab\n"]
pattern, begins: {"type":"string","pattern":"^ab"}
  + ["ab","abx"]
  - ["xab"]
pattern, ends: {"type":"string","pattern":"ab$"}
  + ["ab","xab"]
  - ["abx"]
pattern, alternatives: {"type":"string","pattern":"^a|b$"}
  + ["ax","xb","a"]
  - ["xa","bx",""]
pattern, anchor inside: {"type":"string","pattern":"(^|-)x"}
  + ["xa","a-x"]
  - ["ax","-"]
pattern with escapes: {"type":"string","pattern":"^\"[\\\\/\\n\\t]*\\u00e9$"}
  + ["\"\\/\n\té"]
  - ["\"é\"","é"]
pattern and lengths: {"type":"string","pattern":"^[a-z]+(-[a-z]+)*$","minLength":3,"maxLength":5}
  + ["a-b","abcde"]
  - ["ab","a-","abcdef","a-b-c-"]
pattern of one class and lengths: {"type":"string","pattern":"^[a-z]+$","maxLength":2500}
  + ["a","abc"]
  - ["","A"]
pattern with lengths of its own: {"type":"string","pattern":"^\\d{3}$","minLength":2,"maxLength":9}
  + ["123"]
  - ["12"]
two patterns: {"allOf":[{"type":"string","pattern":"a"},{"pattern":"b"}]}
  + ["ab","xbxa"]
  - ["a","b",1]
pattern without type: {"pattern":"^a$"}
  + ["a",1,null,[]]
  - ["b"]
enum and pattern: {"enum":["ab","cd","abc"],"pattern":"^ab","maxLength":2}
  + ["ab"]
  - ["cd","abc"]
not pattern: {"type":"string","not":{"pattern":"a"}}
  + ["","b","\""]
  - ["a","ba"]
property of Unicode: {"type":"string","pattern":"^\\p{Lu}\\p{Ll}*$"}
  + ["Aé","Ω"]
  - ["aB",""]
`);

export const formatCases = cases(`
format date: {"type":"string","format":"date"}
  + ["2024-02-29","2000-02-29","1999-12-31","2023-04-30"]
  - ["2023-02-29","1900-02-29","2023-13-01","2023-04-31","23-01-01","2023-1-01",""]
format time: {"type":"string","format":"time"}
  + ["12:34:56Z","00:00:00.123+05:30","23:59:60Z"]
  - ["24:00:00Z","12:34:56","12:60:00Z","12:34:60Z","12:34:56+24:00"]
format date-time: {"type":"string","format":"date-time"}
  + ["2024-02-29T12:00:00Z","1990-01-01t00:00:00.5z"]
  - ["2024-02-29","2024-02-30T12:00:00Z","2024-02-29 12:00:00"]
format duration: {"type":"string","format":"duration"}
  + ["P1Y2M3D","PT1H30M","P2W","P1DT12H","PT5S"]
  - ["P","PT","1Y","P1DT","P1W2D"]
format email: {"type":"string","format":"email"}
  + ["joe@example.com","o'b.c+x@a-b.co.uk"]
  - ["joe","@a.b","a@","a..b@c.de","a@-b.c","a b@c.de"]
format hostname: {"type":"string","format":"hostname"}
  + ["localhost","a.b-c.example.com","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"]
  - ["-a","a-","a..b","a_b","","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"]
format ipv4: {"type":"string","format":"ipv4"}
  + ["0.0.0.0","255.10.1.99"]
  - ["256.0.0.1","1.2.3","01.2.3.4","1.2.3.4.5"]
format ipv6: {"type":"string","format":"ipv6"}
  + ["::","::1","1:2:3:4:5:6:7:8","fe80::1:2","::ffff:1.2.3.4","1::8"]
  - ["1:2:3",":::","1::2::3","g::","1:2:3:4:5:6:7:8:9","12345::"]
format uri: {"type":"string","format":"uri"}
  + ["http://a.b/c?d=e#f","mailto:a@b.c","urn:x:y","http://[::1]:80/"]
  - ["//a/b","a b:c","/x","http://a b","1a:b"]
format uuid: {"type":"string","format":"uuid"}
  + ["123e4567-e89b-12d3-a456-426614174000","123E4567-E89B-12D3-A456-426614174000"]
  - ["123e4567","123e4567-e89b-12d3-a456-42661417400g",""]
format and length: {"type":"string","format":"ipv4","maxLength":7}
  + ["1.2.3.4"]
  - ["10.2.3.4"]
~ format int32: {"type":"integer","format":"int32"}
  + [0,2147483647,-2147483648]
  - [2147483648,-2147483649,1.5]
`);

export const numberCases = cases(`
minimum: {"type":"integer","minimum":7}
  + [7,8,10,99,100,123456]
  - [6,0,-7,-100]
maximum: {"type":"integer","maximum":120}
  + [120,119,99,0,-5,-12345]
  - [121,130,200,1000]
range: {"type":"integer","minimum":-13,"maximum":205}
  + [-13,-9,-1,0,9,10,199,200,205]
  - [-14,-20,-100,206,210,300,1000]
exclusive: {"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":101}
  + [10,55,100]
  - [9,101]
range between fractions: {"type":"integer","minimum":1.5,"maximum":3.2}
  + [2,3]
  - [1,4,2.5]
negative range: {"type":"integer","minimum":-250,"maximum":-99}
  + [-250,-99,-100]
  - [-98,-251,0,100]
one value: {"type":"integer","minimum":5,"maximum":5}
  + [5]
  - [4,6]
multipleOf: {"type":"integer","multipleOf":7}
  + [0,7,-14,700,7777]
  - [1,8,10,-15]
multipleOf in a range: {"type":"integer","minimum":10,"maximum":200,"multipleOf":25}
  + [25,200,175]
  - [0,10,30,225]
two multiples: {"allOf":[{"type":"integer","multipleOf":4},{"multipleOf":6}]}
  + [0,12,-24]
  - [4,6,8]
decimal range: {"type":"number","minimum":0,"maximum":1}
  + [0,0.5,1,0.001,0.999]
  - [-0.1,1.001,2,-1]
decimals, exclusive: {"type":"number","exclusiveMinimum":0.5,"exclusiveMaximum":12.25}
  + [0.51,1,9.99,12,12.2,12.249]
  - [0.5,0.49,12.25,12.3,13,100]
negative decimals: {"type":"number","minimum":-1.5,"maximum":-0.25}
  + [-1.5,-1,-0.25,-0.3]
  - [-1.51,-0.24,0,1]
decimals from below: {"type":"number","minimum":99.5}
  + [99.5,99.51,100,12345.678]
  - [99.49,99,-100,9.95]
cents: {"type":"number","multipleOf":0.01}
  + [0,0.07,19.99,-3,1.1]
  - [0.001,1.999]
quarters: {"type":"number","multipleOf":0.25,"minimum":0}
  + [0,0.25,1.5,10.75]
  - [0.1,0.26,-0.25]
numbers of an enum in a range: {"enum":[1,5,10,2.5],"minimum":2,"maximum":5}
  + [5,2.5]
  - [1,10]
not a multiple: {"type":"integer","minimum":0,"maximum":20,"not":{"multipleOf":3}}
  + [1,2,20]
  - [0,3,18]
not an integer: {"type":"number","not":{"type":"integer"}}
  + [1.5,-0.25]
  - [1,0,-3]
without type: {"minimum":3}
  + [3,"a",null,{}]
  - [2]
`);
