"""Common English words. A word that is spelled right is seldom a slip: `mile` is no `smile`, `gold` no `bold`."""

_LIST = """
able about above absolute accent accept across act action active actor actress actual adult adventure after
afternoon again against age agent ago ahead aim air airplane airship alien alive all alley allow almost alone along
already always amazing amber among ancient angle animal ankle another answer ant any anything apart appear apron
arch archer area arena armchair armored army around arrive arrow artist ash aside ask asleep assassin astronaut
athlete atmosphere attack aunt away awesome axe baby backpack bad badge bake baker balcony ball ballet balloon
bamboo banana band bandage bank banner bar barbarian bard bare barefoot barista bark barn barrel bartender base
basic basket basketball bat bath bathroom battle bay beach bead beam bean beanie beat become bedroom bee beetle
before begin behind beige being bell below bench bend beret beside best better between beyond bicycle bike bird
birth birthday bite bitter blade blank blanket blast blaze bless blind block blood bloody bloom blouse blow blur
board boat bokeh bold bomb bone bonfire bonnet boot border bored boss bottle bottom bounce bouquet bow bowl bowtie
bracelet brain branch brave bread break breath breeze brick bricks bride bridge brief bring broken bronze brooch
broom brother brow brows brush bubble bucket build building bull bullet burn burning bus bush business busy but
butcher butter butterfly button buy cabin cafe cage call calm came camp campfire can canal candle candlelight candy
cane canyon cap captain carbon card care careful carpet carriage carrot carry carrying cart carve case cast castle
catch cathedral cauldron cave ceiling celebrate cell cellist cemetery century ceremony chain chance chandelier
change chapel charm chase cheap cheek cheeks cheese chef chess chest chicken chief child childhood children chin
chocolate choice choir choker choose church cinema cinematic circle circus class classic classroom claw clay clean
clear cleric clever cliff climb climber clock close closed cloth cloudy clover clown club coach coal coast cobalt
cocktail cocoa coin collar collarbone collect college comb come comet comfort comic common compass concert cook
cooking copper coral core corn corner corridor corset costume cottage cotton couch count country couple courage
court cousin cover cow cowboy cozy crab cradle craft crash crate crazy create creature creek creepy crew cricket
crime crop cross crossed crow crowd crowded cruel crush crystal cube cuff cup cups cure curious curl curtain curve
cushion cut cyan cycle dagger dance dancer danger dare dash date daughter dawn daylight dead deal dear death debris
decorate deer defend delicate delicious deliver dense depth desert design desk detail detective device dew diamond
dice did die different dig digital dinner dinosaur dirt dirty disc disco dish dive diver divine do dock doctor does
doll dolphin dome done donkey dot double doubt dove down dragon drama dramatic drape drawer dream dreamy drift drill
drip drive driver drone drop druid drum drummer dry duck duel dull dune during dusk dust dusty duty dwarf dynamic
each eagle early earth east easy edge eerie egg eight either elbow elder electric elegant element elephant eleven
else emerald emotion emperor empire empty end enemy energy engine engineer enjoy enter epic escape even evening
event ever every evil exact exit explode explore explorer explosion extra eyelash eyeliner eyepatch fabric fabulous
factory fade fail faint fairy faith fall falling false family famous fan fancy fang fantastic farm farmer fashion
fast fat father favor fear feast feather feed feel feet fence fern ferry festival few field fierce fiery fight
fighter figurine film filter final find fine finger finish firefly fireplace firework first fish fisherman fishing
fist fit five fix flag flame flash flat flight flip float floating floor floral flow flowers fluid flute fly flying
foam focus fog foggy fold folk follow foot football force forehead forge forget fork form formal fort forty forward
fountain four frame free fresh friend friendly frill fringe frog frost frozen fruit fun funny fur furniture furry
future futuristic galaxy gallery game gang gap garage garment gas gate gather gaze gem general genie gentleman
geometric get ghoul giant gift giraffe give glad glade gladiator glance glass gleam glide glitch glitter globe gloom
glory gloss glossy glove glow glowing goat goblin god goddess goes goggle going good goose gorgeous got grace grain
grand grandfather grandmother grape graphic grass grave gravity great greet grim grimoire grip groom ground group
grow guard guess guest guide guild gull gun gym habit hacker had hair hairband hairpin half hall hammer hammock
handle handsome hang hanging happen harbor hard hare harp harvest hat hate haunted hawk hay haze head headband heal
health hear heat heaven heavy hedge heel heels height helicopter hell hello helmet help hem hen herb here hero
heroine hide high highway hike hill hip history hit hobbit hold hole holiday hollow holy home honey hood hook hoop
hop hope horizon horror hospital host hot hotel hour how howl hug huge human humble hundred hunt hunter hurry hut
idea idol illustrate image imagine imp important inner insect inside instead interior invisible iron island ivory
ivy jade jail jar jaw jazz jelly jet jewel jewelry job join joke journey joy judge juice jump jumping jungle junk
just katana keep keeper kettle key keyboard kick kid kill kind kiss kitchen kite kitten knee kneel knightly knit
knitting know known lab lace ladder ladle lake lamb lamp land landscape lane lantern lanterns lap lapel laptop large
laser lash last late later latte lava law lawn lawyer layer lazy lead leader leaf lean leap learn leather leave
leaves leggings lemon lens leopard less lesson let letter level library lick lid lie life lift lighthouse lighting
lightning like lily limb lime line linen lion lip lipstick list listen live lively living lizard load lobby lock log
logo lone lonely longer look loose lord lore lose lost lot lotus loud love lovely lover low lower loyal luck lucky
lunar lunch lung lush luxury machine mad made magazine magenta magical magician mail main major make makeup male
mall mammal mango mantle many map maple marble march marine mark market maroon marry martial mask mass master mat
match mate material math matte matter may maze meadow meal mean meat mecha mechanic medal medical medieval medium
meet melt member memory mend menu mercy mermaid merry mess message metal middle midnight might mighty mile military
milk mill mind mine miner mini minute mirror miss mist misty mix mixing mobile model modest moment monk monkey
monster month mood moonlight more morning moss most moth mother motion motor motorcycle mount mouse move movie much
mud mug mule multiple muscle muscular museum mushroom musician must mystery mystic mystical name narrow nation
native natural nature near neat neck need needle neighbor neon nest net never new news next nice night nine noble
nobody noise noodle noon normal north note nothing nova novel number nun nut oak oasis object ocean odd off offer
office officer often ogre oil old olive once one onion only onto opera opposite orb orc orchard order organ orient
ornate other otter out outdoor outer outline outside oval oven over owl own ox pace pack paddle page pain paint
painter pair pajamas palace paladin palm pan panda panel panic paper parade parent park parrot part party pass past
pasta paste pastel pastry path patient patrol pattern pause pave paw pay peace peaceful peach peak pear pearl pebble
pencil pendant people pepper perfect perfume person petal petals phantom phoenix photo photographer pianist piece
pier piercing pig pigeon pile pill pillow pilot pin pine pipe pirate pistol pit pizza place plaid plain plan plane
planet plant plate plates play player playful please pleasure plum plush pocket poem poet point poison polar pole
police polish poncho pond pony pool poor pop porch port pose position post poster pot potion potter pottery pouch
pour pout powder power powerful practice pray prayer present press pretend price pride priest priestess prime print
prism prison private prize proud public puddle pull pumpkin punch punk pup puppet puppy pure purse push put pyramid
quail quality quarter queen quest quick quiet quill quilt quite quiver rabbit race racer radar radio rag rail
railway rainbow rainy raise ram ramen ranch ranger rare rat rate rather raven raw ray reach read ready real really
reason rebel record reef reflect reflection relax remember render rent repair rest restaurant return rhythm rice
rich ride rider riding rifle right rim ripe rise rising ritual rival road roar roast rob rock rocket rocky rod rogue
role roll roman romantic roof root rope rough round row royal rub ruby ruffle ruffles rug rugged ruin ruins rule run
rune rush rust rusty saber sack sacred sad saddle safe sage sail sailing sailor saint salad salmon salon salt same
sand sandal sandals sandwich sandy sapphire sari sash satchel satin sauce savage save saw say scale scary scene
scenery school science scientist scissors scout scream screen scroll sculpture seagull seal search season seat
second secret see seed seek seem sell send serene serpent serve set seven several sew shade shading shadow shake
shallow shaman shape share shark sharp shatter shawl shed sheep sheet shelf shell shelter shepherd sheriff shield
shimmer shine ship shirtless shiver shock shoe shoot shop shore shoulder shout shovel show shower shrine shrug shut
sick side sigh sight sign signal silence silent silk silly similar simple since sing singer single sink sip sir
siren sister sit six size skate skeleton ski skill skull sleek sleep sleepy sleeve slender slice slide slim slip
slippers slope slow sly smart smash smell smirk smoke smoking smooth smug snack snail snake snap sneak sneakers
sniper snowflake snowman snowy soap soccer soda sofa soft soil solar soldier sole solid some son song soon sorcerer
sorceress sort soul sound soup south space spaceship spark sparkle speak spear special spell spend sphere spice
spider spike spin spiral spirit splash split spoon sport spot spray spread sprout spy squad square squid squirrel
stab stack stadium staff stage stain stair stairs stall stamp stand stare start state station statue stay steal
steam steel steep stem step stern stick still sting stir stitch stock stockings stole stone stool stop store storm
stormy story stove strange stranger straw stream stretch strike string strip stripe striped stroll structure student
studio study stuff stunning style subway such sugar suitcase sultan sundown sunlight sunny super superhero sure surf
surface surfer surround surrounded sushi swamp swan sweat sweet swift swim swing swirl switch symbol system table
tail take tale talk tame tan tank tanker tap tape target tassel taste tattered tavern tax taxi teach teal team tear
tech teddy teen teenage telescope tell temple ten tender tent terrace terror test text texture than thank theater
then there thick thigh thing think third thorn those thought thousand thread three throne through throw thunder
tiger tight tights tile tiled time tin tiny tip tire tired title toad toast together toilet tomato tomb tone tongue
tonight too tool tooth torch torchlight torn tornado torso tortoise touch tough tour toward towel tower toy track
trade trail train training trap travel traveler tray treasure treat trek trench tribal tribe trick trip troll trophy
tropical trouble truck true trumpet trunk trust try tub tube tulip tunic tunnel turban turquoise turtle tusk tutu
twilight twin twist two type ugly ultra uncle under underwater unicorn uniform union unique universe unknown until
upon upset urban use vacation valley vampire van vase vast vault veil vein velvet veranda verdant vibe vibrant
victorian video view village villain vine vintage violin violinist virtual vision visit visor vivid voice void
volcano voyage wagon wait waiter waitress wake wall wallet wand wander war wardrobe warehouse warrior wash watch
waterfall wave wax way weak weapon weary weather weave web wedding wee week weird welcome well west wet whale what
wheat wheel wheelchair when where which while whip whirl whisper whistle why wicked wide wife wild will willow win
windmill wine wing winner wire wise wish wizard wolf woman wonder wood wooden woods wool word work worker workshop
world worm worn worry wound wrap wrist write writer yard yarn yawn year yell yes yesterday yet yoga you youth zebra
zip zombie zone zoo
"""
COMMON = frozenset(_LIST.split())

_ENDINGS = ("s", "es", "ed", "ing", "er", "ly", "y")


def is_common(word: str) -> bool:
    """Whether `word` is listed, or is made of a listed word and an ending (`climbing`, `ropes`, `riding`)."""
    if word in COMMON:
        return True
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            if stem in COMMON or stem + "e" in COMMON or (stem[-1] == stem[-2] and stem[:-1] in COMMON):
                return True
    return False
